//! The connection of one region to the hub.

use super::frame::complete_checksum;
use super::line::{Conditions, Counts, Line};
use super::namespace::Namespace;
use super::socket::{LONGEST_FRAME, PacketSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How soon a link notices that it is no longer wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A way through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the region to the hub.
    Up,
    /// From the hub to the region.
    Down,
}

/// A link under way; dropped, it carries nothing any more.
pub struct Link {
    up: Arc<Mutex<Line>>,
    down: Arc<Mutex<Line>>,
    ended: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
    /// Where both packet sockets live; nothing else does.
    between: Namespace,
}

impl Link {
    /// Between the interfaces `region` and `hub` of a namespace that holds nothing else.
    pub(super) fn between(namespace: Namespace, conditions: Conditions) -> Self {
        let line = || Arc::new(Mutex::new(Line::new(conditions, Instant::now())));
        let (up, down, ended) = (line(), line(), Arc::new(AtomicBool::new(false)));
        // One socket an interface: a socket never sees what it sent itself, so
        // nothing goes round in circles.
        let sockets = namespace.run(|| (PacketSocket::on("region"), PacketSocket::on("hub")));
        let (region, hub) = (Arc::new(sockets.0), Arc::new(sockets.1));
        let carry = |from: &Arc<PacketSocket>, to: &Arc<PacketSocket>, line: &Arc<Mutex<Line>>| {
            let (from, to, line, ended) = (from.clone(), to.clone(), line.clone(), ended.clone());
            std::thread::spawn(move || carry(&from, &to, &line, &ended))
        };
        let carriers = vec![carry(&region, &hub, &up), carry(&hub, &region, &down)];
        Self { up, down, ended, carriers, between: namespace }
    }

    /// Lets frames in, once both interfaces have their far ends.
    pub(super) fn bring_up(&self) {
        self.between.ip("link set region up");
        self.between.ip("link set hub up");
    }

    /// Changes conditions while traffic flows.
    pub fn change(&self, way: Way, change: impl FnOnce(&mut Conditions)) {
        change(&mut self.line(way).conditions);
    }

    pub fn cut(&self, way: Way) {
        self.change(way, |conditions| conditions.cut = true);
    }

    pub fn cut_both_ways(&self) {
        self.cut(Way::Up);
        self.cut(Way::Down);
    }

    /// Whatever was cut carries again.
    pub fn heal(&self) {
        for way in [Way::Up, Way::Down] {
            self.change(way, |conditions| conditions.cut = false);
        }
    }

    pub fn counts(&self, way: Way) -> Counts {
        self.line(way).counts
    }

    fn line(&self, way: Way) -> MutexGuard<'_, Line> {
        locked(match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            // A panic in there has been told already, and this may be one's unwinding.
            let _ = carrier.join();
        }
    }
}

/// Carries frames one way until the link has ended.
fn carry(from: &PacketSocket, to: &PacketSocket, line: &Mutex<Line>, ended: &AtomicBool) {
    let mut buffer = [0; LONGEST_FRAME];
    while !ended.load(Ordering::Relaxed) {
        let next = locked(line).next_arrival();
        let patience = next.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
        wait_for_frame(from, patience);
        while let Some(length) = from.receive(&mut buffer) {
            locked(line).offer(&buffer[..length], Instant::now());
        }
        while let Some(mut frame) = arrived(line) {
            complete_checksum(&mut frame);
            to.send(&frame);
        }
    }
}

fn arrived(line: &Mutex<Line>) -> Option<Vec<u8>> {
    locked(line).arrived(Instant::now())
}

fn wait_for_frame(from: &PacketSocket, patience: Duration) {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    // Interrupted or failed, the loop around looks again.
    let _ = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&timeout));
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
