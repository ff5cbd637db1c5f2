//! Candidates against an etcd in memory, in virtual time, with faults by seed.
//!
//! At every step: at most one candidate leads by its own clock; and of all
//! writes that etcd accepted, no leader's comes after a later leader's. Once the
//! faults end, one leads and its writes are accepted. A failing seed is named.

use super::leadership::{At, Candidate, Command, Contender, Event, Fence, Leadership, key_of};
use squall_common::random::Random;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(50);
const FAULTS_FOR: Duration = Duration::from_secs(60);
const HEALED_FOR: Duration = Duration::from_secs(15);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(700);
const PREFIX: &str = "election/";

/// As much of etcd as the election sees.
#[derive(Default)]
struct Etcd {
    revision: i64,
    next_lease: i64,
    /// When each lease ends.
    leases: BTreeMap<i64, At>,
    /// Lease -> create revision of its key, and who put it.
    keys: BTreeMap<i64, (i64, usize)>,
    /// Which lease each candidate's streams renew.
    streams: BTreeMap<(usize, u64), i64>,
    has_quorum: bool,
    /// Of each accepted write: the writer's fence, and the writer.
    accepted: Vec<(i64, usize)>,
}

impl Etcd {
    fn expire(&mut self, now: At) {
        // Without a quorum nothing can be agreed, neither can an end.
        if self.has_quorum {
            self.leases.retain(|_, ends| *ends > now);
            self.keys.retain(|lease, _| self.leases.contains_key(lease));
        }
    }

    /// A new leader of etcd gives every lease its full life again.
    fn change_leader(&mut self, now: At) {
        self.leases.values_mut().for_each(|ends| *ends = now + TTL);
    }

    fn grant(&mut self, now: At) -> i64 {
        self.next_lease += 1;
        self.leases.insert(self.next_lease, now + TTL);
        self.next_lease
    }

    fn renew(&mut self, now: At, lease: i64) -> Duration {
        match self.leases.get_mut(&lease) {
            Some(ends) => {
                *ends = now + TTL;
                TTL
            }
            None => Duration::ZERO,
        }
    }

    fn revoke(&mut self, lease: i64) {
        self.leases.remove(&lease);
        self.keys.remove(&lease);
    }

    fn stand(&mut self, lease: i64, who: usize) -> Option<Vec<Contender>> {
        self.leases.get(&lease)?;
        if !self.keys.contains_key(&lease) {
            self.revision += 1;
            self.keys.insert(lease, (self.revision, who));
        }
        let contender = |(lease, (create_revision, who)): (&i64, &(i64, usize))| Contender {
            key: key_of(PREFIX, *lease),
            create_revision: *create_revision,
            address: who.to_string(),
        };
        Some(self.keys.iter().map(contender).collect())
    }

    fn write(&mut self, fence: &Fence, who: usize) -> bool {
        let holds = self
            .keys
            .iter()
            .any(|(lease, (revision, _))| key_of(PREFIX, *lease) == fence.key && *revision == fence.create_revision);
        if holds {
            self.revision += 1;
            self.accepted.push((fence.create_revision, who));
        }
        holds
    }
}

/// What is on its way.
#[derive(Clone, Debug)]
enum Travelling {
    Request(usize, Command),
    Write(usize, Fence),
    Answer(usize, Event),
    Wake(usize),
}

struct Node {
    candidate: Candidate,
    paused_until: At,
    /// A stream that hangs takes renewals and answers nothing, without an error.
    hung: bool,
}

struct World {
    etcd: Etcd,
    nodes: Vec<Node>,
    now: At,
    /// By time, then by the order they were sent in.
    queue: BinaryHeap<Reverse<(At, u64)>>,
    travelling: BTreeMap<u64, Travelling>,
    next: u64,
    random: Random,
    seed: u64,
    /// Keys removed by hand end a leadership that its holder still believes in, until a write tells it.
    tampered: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let node = |n| Node {
            candidate: Candidate::new(PREFIX, TTL, seed * 10 + n),
            paused_until: Duration::ZERO,
            hung: false,
        };
        let mut world = Self {
            etcd: Etcd { has_quorum: true, ..Etcd::default() },
            nodes: (0..3).map(node).collect(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            travelling: BTreeMap::new(),
            next: 0,
            random: Random::at(seed, &[99]),
            seed,
            tampered: false,
        };
        (0..3).for_each(|who| world.send(Duration::ZERO, Travelling::Wake(who)));
        world
    }

    fn send(&mut self, after: Duration, what: Travelling) {
        self.next += 1;
        self.travelling.insert(self.next, what);
        self.queue.push(Reverse((self.now + after, self.next)));
    }

    fn delay(&mut self) -> Duration {
        let most_us = if self.random.below(6) == 0 { 900_000 } else { 20_000 };
        Duration::from_micros(self.random.below(most_us))
    }

    fn run(mut self) {
        let end = FAULTS_FOR + HEALED_FOR;
        let mut fault_at = Duration::ZERO;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            let keys_before = self.etcd.keys.clone();
            self.etcd.expire(at);
            if at >= fault_at && at < FAULTS_FOR {
                fault_at = at + TICK;
                self.maybe_fault();
            } else if at >= FAULTS_FOR {
                self.heal();
            }
            let what = self.travelling.remove(&number).expect("what is queued travels");
            self.arrive(number, what);
            if self.etcd.keys != keys_before {
                self.tell_watchers();
            }
            self.check();
        }
        let leading: Vec<usize> = (0..3).filter(|&who| self.nodes[who].candidate.leads(self.now).is_some()).collect();
        assert_eq!(leading.len(), 1, "seed {}: after all faults these lead: {leading:?}", self.seed);
        let last = self.etcd.accepted.last().map(|(_, who)| *who);
        assert_eq!(last, Some(leading[0]), "seed {}: the leader's writes are not accepted", self.seed);
    }

    /// Watches are quicker than answers, so that a successor is there as early as it can be.
    fn tell_watchers(&mut self) {
        for who in 0..3 {
            let after = Duration::from_micros(self.random.below(5_000));
            self.send(after, Travelling::Answer(who, Event::ElectionMoved));
        }
    }

    fn maybe_fault(&mut self) {
        let who = self.random.below(3) as usize;
        match self.random.below(240) {
            0..4 => {
                let length = Duration::from_millis(self.random.below(10_000));
                self.nodes[who].paused_until = self.now + length;
            }
            4..8 => self.nodes[who].hung = true,
            8..12 => self.etcd.change_leader(self.now),
            12 => self.etcd.has_quorum = false,
            13..18 if !self.etcd.has_quorum => {
                self.etcd.has_quorum = true;
                self.etcd.change_leader(self.now);
            }
            // An operator removes a lease or a key by hand, in every other seed.
            18 if self.seed.is_multiple_of(2) => {
                if let Some(lease) = self.etcd.keys.keys().next().copied() {
                    self.tampered = true;
                    self.etcd.keys.remove(&lease);
                    if self.random.below(2) == 0 {
                        self.etcd.revoke(lease);
                    }
                }
            }
            _ => {}
        }
    }

    fn heal(&mut self) {
        if !self.etcd.has_quorum {
            self.etcd.has_quorum = true;
            self.etcd.change_leader(self.now);
        }
        for node in &mut self.nodes {
            node.hung = false;
            node.paused_until = node.paused_until.min(self.now);
        }
    }

    fn arrive(&mut self, number: u64, what: Travelling) {
        match what {
            Travelling::Request(who, command) => self.serve(who, command),
            Travelling::Write(who, fence) => {
                if self.etcd.has_quorum && !self.etcd.write(&fence, who) {
                    let after = self.delay();
                    self.send(after, Travelling::Answer(who, Event::FenceRefused(fence)));
                }
            }
            Travelling::Answer(who, _) | Travelling::Wake(who) if self.nodes[who].paused_until > self.now => {
                // In the order of arrival, once the process goes on.
                self.travelling.insert(number, what);
                self.queue.push(Reverse((self.nodes[who].paused_until, number)));
            }
            Travelling::Answer(who, event) => self.step(who, event),
            Travelling::Wake(who) => {
                self.step(who, Event::Tick);
                // What a leader believes may be old; it writes nevertheless, and the fence has to hold.
                if let Leadership::Leader(fence) = self.nodes[who].candidate.announced().clone() {
                    let after = if self.random.below(30) == 0 { TTL * 2 } else { self.delay() };
                    self.send(after, Travelling::Write(who, fence));
                }
                self.send(TICK, Travelling::Wake(who));
            }
        }
    }

    fn step(&mut self, who: usize, event: Event) {
        for command in self.nodes[who].candidate.step(self.now, event) {
            match command {
                Command::Announce(_) | Command::Close { .. } => {}
                Command::Open { stream, lease } => {
                    self.etcd.streams.insert((who, stream), lease);
                    self.nodes[who].hung = self.now < FAULTS_FOR && self.random.below(8) == 0;
                    let after = self.delay();
                    self.send(after, Travelling::Request(who, command));
                }
                command => {
                    let after = self.delay();
                    self.send(after, Travelling::Request(who, command));
                }
            }
        }
    }

    fn serve(&mut self, who: usize, command: Command) {
        let lost = self.now < FAULTS_FOR && self.random.below(40) == 0;
        let works = self.etcd.has_quorum && !lost;
        let hung = self.nodes[who].hung;
        let now = self.now;
        // An answer that is lost still means that etcd did what was asked.
        let answer_lost = self.now < FAULTS_FOR && self.random.below(40) == 0;
        let answer = match command {
            Command::Grant { ask } => {
                let granted = works.then(|| Event::Granted { ask, lease: self.etcd.grant(now), ttl: TTL });
                Some(granted.filter(|_| !answer_lost).unwrap_or(Event::GrantFailed { ask }))
            }
            Command::Stand { ask, lease } => {
                let seen = works.then(|| self.etcd.stand(lease, who)).filter(|_| !answer_lost);
                Some(match seen {
                    Some(Some(contenders)) => Event::Seen { ask, contenders },
                    Some(None) => Event::LeaseUnknown { ask },
                    None => Event::StandFailed { ask },
                })
            }
            Command::Open { .. } | Command::Renew { .. } if hung => None,
            Command::Open { stream, lease } => Some(match works.then(|| self.etcd.renew(now, lease)) {
                Some(ttl) if ttl.is_zero() => Event::Renewed { stream, ttl },
                Some(_) => Event::Opened { stream },
                None => Event::StreamFailed { stream },
            }),
            Command::Renew { stream } => Some(match self.etcd.streams.get(&(who, stream)).copied() {
                Some(lease) if works => Event::Renewed { stream, ttl: self.etcd.renew(now, lease) },
                _ => Event::StreamFailed { stream },
            }),
            Command::Revoke { lease } => {
                if works {
                    self.etcd.revoke(lease);
                }
                None
            }
            Command::Close { .. } | Command::Announce(_) => None,
        };
        if let Some(answer) = answer {
            let failed =
                matches!(answer, Event::GrantFailed { .. } | Event::StandFailed { .. } | Event::StreamFailed { .. });
            let after = if failed { REQUEST_TIMEOUT } else { self.delay() };
            self.send(after, Travelling::Answer(who, answer));
        }
    }

    fn check(&self) {
        if !self.tampered {
            let leading: Vec<usize> =
                (0..3).filter(|&who| self.nodes[who].candidate.leads(self.now).is_some()).collect();
            assert!(leading.len() <= 1, "seed {} at {:?}: these lead: {leading:?}", self.seed, self.now);
        }
        if let [.., before, last] = self.etcd.accepted.as_slice() {
            let ordered = before.0 < last.0 || before == last;
            assert!(ordered, "seed {} at {:?}: {last:?} wrote after {before:?}", self.seed, self.now);
        }
    }
}

#[test]
fn at_most_one_leaders_writes_are_accepted_whatever_fails() {
    (0..1_500).for_each(|seed| World::new(seed).run());
}
