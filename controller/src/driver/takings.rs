//! Shares of lost agents: dealt, written down, told to those who take them over.

use super::Driver;
use crate::events::Event;
use crate::run::{self, Place};
use crate::takeover::{self, Survivor};
use squall_common::split::Share;
use squall_common::wire;
use squall_proto::{Adopt, controller_message};

/// A lost agent's share, and who takes what of it.
#[derive(Clone, Debug)]
pub struct Taking {
    pub lost: Place,
    /// Offset from the start.
    pub from_ns: u64,
    /// By load.
    pub takers: Vec<(Place, Vec<Share>)>,
    /// Who has said from when it really sends it.
    pub told: Vec<(Place, u64)>,
}

impl Driver {
    /// Deals a lost agent's share to the others, writes that down, and tells them.
    pub(super) async fn take_over(&mut self, lost: Place, not_before_ns: u64) {
        let carries =
            |(taker, shares): &(Place, Vec<Share>)| *taker == lost && shares.iter().any(|share| share.numerator() > 0);
        if self.takings.iter().any(|taking| taking.takers.iter().any(carries)) {
            // Only its own share would be dealt, and the end of its hole would hide the rest.
            let why = "it had taken over from another, and that would be in no hole";
            let event = Event::new("share_not_taken_over").with("agent", self.slot(lost)).with("reason", why);
            return self.event(event).await;
        }
        let survivors: Vec<Place> =
            (0..self.start.members.len()).filter(|&place| place != lost && self.run.is_going(place)).collect();
        let as_seen = survivors.iter().map(|&place| Survivor {
            region: self.start.members[place].region.clone(),
            busy: self.merge.agents()[place].busy(),
            shares: self.start.shares[place].clone(),
        });
        let region = &self.start.members[lost].region;
        let dealt = takeover::deal(region, &self.start.shares[lost], &as_seen.collect::<Vec<_>>());
        let (event, dealt) = match dealt {
            Ok(dealt) => (Event::new("share_taken_over"), dealt),
            Err(why) => {
                let event = Event::new("share_not_taken_over").with("agent", self.slot(lost)).with("reason", why);
                return self.event(event).await;
            }
        };
        let from_ns = not_before_ns.saturating_sub(self.run.start_at_ns().unwrap_or_default());
        let event = event.with("agent", self.slot(lost)).with("from_s", from_ns as f64 / 1e9);
        let takers = survivors.iter().zip(dealt).map(|(&place, shares)| (place, shares)).collect();
        self.takings.push(Taking { lost, from_ns, takers, told: Vec::new() });
        if self.save().await {
            self.event(event).await;
            for place in survivors {
                self.tell_takings(place);
            }
        }
    }

    /// Tells an agent all it is to take over, in order; what it knows already says nothing new.
    pub(super) fn tell_takings(&self, place: Place) {
        for (number, taking) in (1..).zip(&self.takings) {
            let own = taking.takers.iter().find(|(taker, _)| *taker == place);
            let nothing = || self.start.shares[taking.lost].iter().map(takeover::none_of).collect();
            let adopt = Adopt {
                run_id: self.start.run_id.clone(),
                epoch: self.start.members[place].epoch,
                number,
                from_ns: taking.from_ns,
                shares: own.map_or_else(nothing, |(_, shares)| shares.iter().map(wire::write_share).collect()),
            };
            self.send(place, controller_message::Message::Adopt(adopt));
        }
    }

    /// An agent says from when it sends what it takes over. Once all have, the hole has an end.
    pub(super) async fn note_adopted(&mut self, place: Place, number: u32, from_ns: u64) {
        let Some(taking) = number.checked_sub(1).and_then(|index| self.takings.get_mut(index as usize)) else { return };
        if taking.told.iter().all(|(known, _)| *known != place) {
            taking.told.push((place, from_ns));
        }
        let is_told = |(taker, _): &(Place, Vec<Share>)| taking.told.iter().any(|(known, _)| known == taker);
        if !taking.takers.iter().all(is_told) {
            return;
        }
        let (lost, from_ns) = (taking.lost, taking.told.iter().map(|(_, from)| *from).max().unwrap_or(from_ns));
        self.step(run::Event::TakenOver { lost, from_ns }).await;
        self.save().await;
    }
}
