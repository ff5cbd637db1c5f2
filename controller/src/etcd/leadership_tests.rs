//! Single steps of a candidate, by the second.

use super::leadership::{At, Candidate, Command, Contender, Event, Fence, Leadership};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(9);
const LEASE: i64 = 0xa1;

fn at(ms: u64) -> At {
    Duration::from_millis(ms)
}

fn contender(lease: i64, create_revision: i64) -> Contender {
    Contender { key: format!("election/{lease:x}"), create_revision, address: format!("host-{lease:x}:7700") }
}

/// A candidate, and what it asked for last.
struct Tried {
    candidate: Candidate,
    commands: Vec<Command>,
}

impl Tried {
    fn new() -> Self {
        Self { candidate: Candidate::new("election/", TTL, 1), commands: Vec::new() }
    }

    fn step(&mut self, now: At, event: Event) -> &mut Self {
        self.commands = self.candidate.step(now, event);
        self
    }

    fn asked(&self) -> u64 {
        let ask = |command: &Command| match command {
            Command::Grant { ask } | Command::Stand { ask, .. } => Some(*ask),
            _ => None,
        };
        self.commands.iter().find_map(ask).unwrap_or_else(|| panic!("nothing is asked: {:?}", self.commands))
    }

    fn opening(&self) -> u64 {
        let opening = |command: &Command| match command {
            Command::Open { stream, .. } => Some(*stream),
            _ => None,
        };
        self.commands.iter().find_map(opening).unwrap_or_else(|| panic!("no stream is opened: {:?}", self.commands))
    }

    /// Granted and open at 0 s, leading since 0.1 s. Gives the stream.
    fn leading() -> (Self, u64) {
        let mut tried = Self::new();
        tried.step(at(0), Event::Tick);
        let ask = tried.asked();
        tried.step(at(0), Event::Granted { ask, lease: LEASE, ttl: TTL });
        let (stream, ask) = (tried.opening(), tried.asked());
        tried.step(at(0), Event::Opened { stream });
        tried.step(at(100), Event::Seen { ask, contenders: vec![contender(LEASE, 7)] });
        assert_eq!(tried.commands, [Command::Announce(Leadership::Leader(fence()))]);
        (tried, stream)
    }
}

fn fence() -> Fence {
    Fence { key: format!("election/{LEASE:x}"), create_revision: 7 }
}

#[test]
fn the_oldest_key_leads_and_the_others_know_its_address() {
    let mut tried = Tried::new();
    let ask = tried.step(at(0), Event::Tick).asked();
    let ask = tried.step(at(0), Event::Granted { ask, lease: LEASE, ttl: TTL }).asked();
    tried.step(at(50), Event::Seen { ask, contenders: vec![contender(LEASE, 9), contender(0xb2, 4)] });
    let leader = Some("host-b2:7700".to_owned());
    assert_eq!(tried.commands, [Command::Announce(Leadership::Standby { leader })]);
}

#[test]
fn the_lease_is_counted_from_when_the_renewal_was_sent() {
    let (mut tried, stream) = Tried::leading();
    // Sent at 3 s, answered at 5.9 s: lives until 12 s, not until 14.9 s.
    assert!(tried.step(at(3_000), Event::Tick).commands.contains(&Command::Renew { stream }));
    tried.step(at(5_900), Event::Renewed { stream, ttl: TTL });
    assert_eq!(tried.candidate.leads(at(12_000)), Some(&fence()));
    assert_eq!(tried.candidate.leads(at(12_001)), None);
}

#[test]
fn two_thirds_of_the_lease_without_an_answer_opens_another_stream() {
    let (mut tried, stream) = Tried::leading();
    tried.step(at(3_000), Event::Tick);
    tried.step(at(6_001), Event::Tick);
    let newer = tried.opening();
    // The old stream's answer comes too late to count.
    tried.step(at(6_100), Event::Renewed { stream, ttl: TTL });
    assert_eq!(tried.candidate.leads(at(9_001)), None);
    tried.step(at(6_200), Event::Opened { stream: newer });
    assert_eq!(tried.candidate.leads(at(15_001)), Some(&fence()));
}

#[test]
fn silence_for_the_whole_lease_ends_the_leadership() {
    let (mut tried, _) = Tried::leading();
    tried.step(at(9_001), Event::Tick);
    assert!(tried.commands.contains(&Command::Announce(Leadership::Lost)), "{:?}", tried.commands);
}

#[test]
fn an_answer_with_no_time_to_live_is_the_end_of_the_lease() {
    let (mut tried, stream) = Tried::leading();
    tried.step(at(3_000), Event::Tick);
    tried.step(at(3_010), Event::Renewed { stream, ttl: Duration::ZERO });
    assert_eq!(tried.commands[0], Command::Announce(Leadership::Lost));
}

#[test]
fn the_granted_time_to_live_counts() {
    let mut tried = Tried::new();
    let ask = tried.step(at(0), Event::Tick).asked();
    let ask = tried.step(at(0), Event::Granted { ask, lease: LEASE, ttl: TTL * 2 }).asked();
    tried.step(at(10), Event::Seen { ask, contenders: vec![contender(LEASE, 7)] });
    assert_eq!(tried.candidate.leads(at(18_000)), Some(&fence()));
}

#[test]
fn a_leader_that_was_stopped_for_longer_than_its_lease_does_not_lead_on() {
    let (mut tried, stream) = Tried::leading();
    tried.step(at(3_000), Event::Tick);
    // The answer had come in before; it is read a minute later.
    tried.step(at(63_000), Event::Renewed { stream, ttl: TTL });
    assert_eq!(tried.commands[0], Command::Announce(Leadership::Lost));
}

#[test]
fn a_refused_write_ends_the_leadership_at_once() {
    let (mut tried, _) = Tried::leading();
    tried.step(at(500), Event::FenceRefused(Fence { key: "election/other".into(), create_revision: 1 }));
    assert_eq!(tried.candidate.announced(), &Leadership::Leader(fence()), "another's fence says nothing of ours");
    tried.step(at(500), Event::FenceRefused(fence()));
    assert_eq!(tried.commands[0], Command::Announce(Leadership::Standby { leader: None }));
    tried.asked();
}

#[test]
fn a_lease_given_up_is_revoked_once_etcd_answers_again() {
    let (mut tried, _) = Tried::leading();
    tried.step(at(9_001), Event::Tick);
    let ask = tried.step(at(11_000), Event::Tick).asked();
    tried.step(at(11_100), Event::Granted { ask, lease: 0xb2, ttl: TTL });
    assert!(tried.commands.contains(&Command::Revoke { lease: LEASE }), "{:?}", tried.commands);
}

#[test]
fn who_resigns_revokes_its_lease_and_stays_out() {
    let (mut tried, _) = Tried::leading();
    tried.step(at(500), Event::Resigned);
    assert!(tried.commands.contains(&Command::Revoke { lease: LEASE }), "{:?}", tried.commands);
    assert_eq!(tried.step(at(60_000), Event::Tick).commands, []);
}

#[test]
fn a_lease_granted_too_late_is_given_back() {
    let mut tried = Tried::new();
    let ask = tried.step(at(0), Event::Tick).asked();
    tried.step(at(10), Event::GrantFailed { ask });
    tried.step(at(20), Event::Granted { ask, lease: LEASE, ttl: TTL });
    assert_eq!(tried.commands, [Command::Revoke { lease: LEASE }]);
}

#[test]
fn a_change_during_a_look_at_the_election_is_looked_at_again() {
    let mut tried = Tried::new();
    let ask = tried.step(at(0), Event::Tick).asked();
    let ask = tried.step(at(0), Event::Granted { ask, lease: LEASE, ttl: TTL }).asked();
    tried.step(at(10), Event::ElectionMoved);
    tried.step(at(20), Event::Seen { ask, contenders: vec![contender(0xb2, 4), contender(LEASE, 9)] });
    assert_ne!(tried.asked(), ask);
}
