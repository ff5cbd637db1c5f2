//! Until when load may be sent without another word from the controller. Pure.
//!
//! A lease counts from when a message left that the controller then answered.
//! The controller heard it no earlier, and takes an agent for lost only when it
//! has heard nothing for longer than a lease: so no agent that is taken for
//! lost still sends load, whatever the network does.

/// The lease of one agent; it outlives sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    granted_ns: u64,
    until_ns: u64,
}

impl Lease {
    /// The controller answered the heartbeat sent at `sent_ns`.
    pub fn answered(&mut self, sent_ns: u64, may_run_for_ms: u64) {
        self.granted_ns = may_run_for_ms.saturating_mul(1_000_000);
        self.until_ns = sent_ns.saturating_add(self.granted_ns);
    }

    /// The controller answered the hello sent at `sent_ns`, and the run goes on: as good as a heartbeat.
    pub fn welcomed(&mut self, sent_ns: u64) {
        self.until_ns = self.until_ns.max(sent_ns.saturating_add(self.granted_ns));
    }

    pub fn until_ns(self) -> u64 {
        self.until_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_what_was_sent_and_a_controller_can_take_it_back() {
        let mut lease = Lease::default();
        lease.welcomed(5);
        assert_eq!(lease.until_ns(), 5, "nothing was granted yet");
        lease.answered(1_000, 2);
        assert_eq!(lease.until_ns(), 2_001_000);
        lease.welcomed(3_000_000);
        assert_eq!(lease.until_ns(), 5_000_000);
        lease.answered(4_000_000, 0);
        assert_eq!(lease.until_ns(), 4_000_000);
        lease.answered(u64::MAX, u64::MAX);
    }
}
