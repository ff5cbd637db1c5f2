//! A lost agent's share → who of the others takes which part of it.
//!
//! Pure. Region first: while an agent of the lost one's region has headroom, the
//! load stays there. Only agents that the measurement itself shows to have room
//! take any: what a generator cannot send would be blamed on it, not on the target.

use squall_common::plan::Region;
use squall_common::split::Share;

/// Workers may be this busy after a taking over. Beyond it dispatch lag grows.
pub const MOST_BUSY: f64 = 0.75;

/// An agent that is still there.
#[derive(Clone, Debug)]
pub struct Survivor {
    pub region: Region,
    /// CPU of its workers over their time, as its last snapshots tell.
    pub busy: f64,
    /// By load.
    pub shares: Vec<Share>,
}

/// The parts of `lost` shares that the survivors take, by survivor and load.
/// `Err`: nobody can, and why.
pub fn deal(region: &Region, lost: &[Share], survivors: &[Survivor]) -> Result<Vec<Vec<Share>>, String> {
    let own = |survivor: &Survivor| survivor.shares.iter().map(weight).sum::<f64>();
    let extra: f64 = lost.iter().map(weight).sum();
    let has_room = |place: usize, more: f64| {
        let survivor = &survivors[place];
        own(survivor) > 0.0 && survivor.busy * (1.0 + more / own(survivor)) <= MOST_BUSY
    };
    // One without room leaves more to each of the others, who are asked again.
    let with_room = |mut takers: Vec<usize>| loop {
        let more = extra / takers.len() as f64;
        let kept: Vec<usize> = takers.iter().copied().filter(|&place| has_room(place, more)).collect();
        if kept.len() == takers.len() {
            return kept;
        }
        takers = kept;
    };
    let here: Vec<usize> = (0..survivors.len()).filter(|&place| survivors[place].region == *region).collect();
    let all: Vec<usize> = (0..survivors.len()).collect();
    let takers = [here, all].into_iter().map(with_room).find(|takers| !takers.is_empty());
    let Some(takers) = takers else {
        let busiest = survivors.iter().map(|survivor| survivor.busy).fold(0.0, f64::max);
        return Err(match survivors.len() {
            0 => "no agent is left".to_owned(),
            left => format!(
                "none of the {left} agents left has room for it (workers up to {:.0} % busy, {:.0} % is the most)",
                busiest * 100.0,
                MOST_BUSY * 100.0
            ),
        });
    };
    let weights: Vec<u32> = (0..survivors.len()).map(|place| u32::from(takers.contains(&place))).collect();
    let part = |place: usize, whole: &Share| {
        Share::new(weights.clone(), place).map(|part| part.within(whole.clone())).map_err(|error| error.to_string())
    };
    (0..survivors.len()).map(|place| lost.iter().map(|whole| part(place, whole)).collect()).collect()
}

/// A part of a share that is nothing of it, as agents are told it.
pub fn none_of(whole: &Share) -> squall_proto::Share {
    let whole = squall_common::wire::write_share(whole);
    squall_proto::Share { weights: vec![1, 0], index: 1, within: Some(Box::new(whole)) }
}

fn weight(share: &Share) -> f64 {
    let own = share.numerator() as f64 / share.denominator() as f64;
    own * share.parent().map_or(1.0, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(region: &str, busy: f64, index: usize) -> Survivor {
        Survivor { region: Region::new(region).unwrap(), busy, shares: vec![share(index)] }
    }

    fn share(index: usize) -> Share {
        Share::new(vec![1, 1, 1, 1], index).unwrap()
    }

    fn takers(region: &str, survivors: &[Survivor]) -> Result<Vec<usize>, String> {
        let dealt = deal(&Region::new(region).unwrap(), &[share(3)], survivors)?;
        assert_eq!(dealt.iter().map(|own| own[0].count_of(1_000)).sum::<u64>(), 250, "all of it, once");
        Ok((0..survivors.len()).filter(|&place| dealt[place][0].count_of(1_000) > 0).collect())
    }

    #[test]
    fn the_lost_agents_region_takes_its_share_while_it_has_room() {
        let fleet = [survivor("a/x", 0.2, 0), survivor("a/y", 0.2, 1), survivor("a/x", 0.3, 2)];
        assert_eq!(takers("a/x", &fleet).unwrap(), [0, 2]);
        assert_eq!(takers("a/z", &fleet).unwrap(), [0, 1, 2], "nobody is there: everybody");
    }

    #[test]
    fn one_without_room_takes_nothing_and_no_room_at_all_is_said() {
        let fleet = [survivor("a/x", 0.6, 0), survivor("a/y", 0.1, 1), survivor("a/y", 0.3, 2)];
        assert_eq!(takers("a/x", &fleet).unwrap(), [1, 2], "twice as much is too much for the only one in its region");
        let busy = [survivor("a/x", 0.7, 0), survivor("a/y", 0.74, 1)];
        let why = takers("a/x", &busy).unwrap_err();
        assert!(why.contains("74 % busy"), "{why}");
        assert_eq!(takers("a/x", &[]).unwrap_err(), "no agent is left");
    }
}
