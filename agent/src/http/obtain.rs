//! A connection for one request: the first that can be had.
//!
//! Where connections are not limited, a request that finds none idle has one
//! dialled, and takes one that becomes free meanwhile; what was dialled for it is
//! then there for the next. Only so many dials go on at a time: a target that
//! answers late would otherwise be buried in connections, one for each request
//! that fell due.

use super::client::TargetClient;
use super::deadline::instant_of;
use super::failure::Failure;
use super::h1::conn::H1Conn;
use crate::clock::now_ns;
use squall_common::sample::{Outcome, PhaseTimes};
use std::rc::Rc;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

/// Dials of one worker to one target that go on at a time. Servers queue at least
/// 128 connections they have not accepted; from there on the kernel asks again
/// only after a second.
pub(super) const DIALS_AT_ONCE: u64 = 128;

type Dialled = (PhaseTimes, Result<Box<H1Conn>, Failure>);

impl TargetClient {
    /// A connection, and in `phases` what dialling cost if it was dialled for this request.
    pub(super) async fn obtain_h1(&self, due_ns: u64, phases: &mut PhaseTimes) -> Result<Box<H1Conn>, Failure> {
        let own = self.own.upgrade().filter(|_| self.limit.is_none());
        // With a limit, who holds a slot has a right to a connection of its own.
        let Some(own) = own else { return self.dial_h1(due_ns, phases).await };
        let (say, mut dialled) = oneshot::channel();
        tokio::task::spawn_local(own.dial_for(say, due_ns));
        tokio::select! {
            biased;
            conn = self.idle.freed(&self.shared.policy) => {
                dialled.close();
                if let Ok((_, Ok(spare))) = dialled.try_recv() {
                    self.idle.put(spare, &self.shared.policy, now_ns());
                }
                Ok(conn)
            }
            dialled = &mut dialled => {
                let ended = |_| Failure::new(Outcome::ConnectFailed, "the worker ended while it connected");
                let (spent, conn) = dialled.map_err(ended)?;
                (phases.dns_us, phases.connect_us, phases.tls_us) = (spent.dns_us, spent.connect_us, spent.tls_us);
                conn
            }
        }
    }

    /// Dials when its turn comes, unless nobody waits for it by then.
    async fn dial_for(self: Rc<Self>, mut to: oneshot::Sender<Dialled>, due_ns: u64) {
        let turn = tokio::select! {
            turn = timeout_at(instant_of(due_ns), self.dials.acquire()) => turn,
            () = to.closed() => return,
        };
        let mut phases = PhaseTimes::default();
        let conn = match turn {
            Ok(_turn) => self.dial_h1(due_ns, &mut phases).await,
            Err(_) => {
                let why = format!("no connection became free in time, and {DIALS_AT_ONCE} others were being opened");
                Err(Failure::new(Outcome::TimeoutConnect, why))
            }
        };
        if let Err((_, Ok(spare))) = to.send((phases, conn)) {
            self.idle.put(spare, &self.shared.policy, now_ns());
        }
    }
}
