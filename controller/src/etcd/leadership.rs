//! Who leads, decided without a clock, a socket or a task.
//!
//! A candidate holds a lease, keeps it alive, and puts one key under the
//! election prefix with it. The oldest key leads: the candidate that finds its
//! own key oldest, in a read that etcd has confirmed with its quorum, is the
//! leader, and the key's create revision is its [`Fence`]. Older keys never come
//! back, so from that read on no earlier leader's writes are accepted.
//!
//! etcd's own `campaign` call is not used: a server that notices late that the
//! caller has gone removes the caller's key, also one it has campaigned with again.
//!
//! Time is counted from the moment a renewal was *sent*: the server cannot have
//! counted from earlier. After two thirds of the lease's life without an answer
//! the stream is broken and opened again; after all of it, leadership is over,
//! whether etcd knows it yet or not.

use squall_common::random::Random;
use std::collections::VecDeque;
use std::time::Duration;

/// An instant on the candidate's own monotonic clock.
pub type At = Duration;

/// Proves a leadership to etcd: holds as long as this key, created at this revision, is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    pub key: String,
    pub create_revision: i64,
}

/// Where this controller stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Nothing is certain: etcd has not answered for the life of a lease, or not yet at all.
    Lost,
    /// Another leads, as far as known.
    Standby {
        leader: Option<String>,
    },
    Leader(Fence),
}

/// One key of the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    pub key: String,
    pub create_revision: i64,
    pub address: String,
}

/// What happened. Numbers are those of the commands that are answered; answers to older ones are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Tick,
    Granted {
        ask: u64,
        lease: i64,
        ttl: Duration,
    },
    GrantFailed {
        ask: u64,
    },
    /// The stream is open and its first renewal was answered.
    Opened {
        stream: u64,
    },
    /// An answer on the stream; etcd says that a lease is gone by a time to live of 0.
    Renewed {
        stream: u64,
        ttl: Duration,
    },
    StreamFailed {
        stream: u64,
    },
    /// The election as of one revision, after our key was put where it was missing.
    Seen {
        ask: u64,
        contenders: Vec<Contender>,
    },
    StandFailed {
        ask: u64,
    },
    /// etcd does not know the lease that our key should hang on.
    LeaseUnknown {
        ask: u64,
    },
    ElectionMoved,
    /// A write was refused because this fence's key is gone.
    FenceRefused(Fence),
    /// The controller is told to stop.
    Resigned,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Grant {
        ask: u64,
    },
    /// Opens a keep-alive stream; the one before is closed.
    Open {
        stream: u64,
        lease: i64,
    },
    Renew {
        stream: u64,
    },
    Close {
        stream: u64,
    },
    /// Puts our key if it is missing, and reads the election, in one transaction.
    Stand {
        ask: u64,
        lease: i64,
    },
    /// So that nobody waits for a lease that we have given up.
    Revoke {
        lease: i64,
    },
    Announce(Leadership),
}

/// One controller's part in the election.
#[derive(Debug)]
pub struct Candidate {
    ttl_asked: Duration,
    prefix: String,
    random: Random,
    next_number: u64,
    failures: u32,
    lease: Lease,
    /// Given up while etcd may still count them.
    given_up: Vec<i64>,
    announced: Leadership,
}

#[derive(Debug)]
enum Lease {
    None { again_at: At },
    Asked { ask: u64, at: At },
    Held(Held),
    Resigned,
}

#[derive(Debug)]
struct Held {
    id: i64,
    ttl: Duration,
    /// When the newest renewal that was answered had been sent.
    renewed_at: At,
    stream: Stream,
    standing: Option<u64>,
    stand_at: At,
    /// The election changed while a read of it was under way.
    moved: bool,
}

#[derive(Debug)]
enum Stream {
    Closed {
        open_at: At,
    },
    Opening {
        number: u64,
        at: At,
    },
    /// Answers come in the order of the renewals, so the oldest unanswered one is meant.
    Open {
        number: u64,
        sent: VecDeque<At>,
        renew_at: At,
    },
}

/// The key that a candidate puts with its lease.
pub fn key_of(prefix: &str, lease: i64) -> String {
    format!("{prefix}{lease:x}")
}

impl Candidate {
    /// `prefix` is where the keys of the election are, `ttl` what is asked for; what is granted counts.
    pub fn new(prefix: impl Into<String>, ttl: Duration, seed: u64) -> Self {
        Self {
            ttl_asked: ttl,
            prefix: prefix.into(),
            random: Random::at(seed, &[]),
            next_number: 1,
            failures: 0,
            lease: Lease::None { again_at: Duration::ZERO },
            given_up: Vec::new(),
            announced: Leadership::Lost,
        }
    }

    #[cfg(test)]
    pub fn announced(&self) -> &Leadership {
        &self.announced
    }

    /// The fence, as long as the lease behind it lives by our own clock.
    #[cfg(test)]
    pub fn leads(&self, now: At) -> Option<&Fence> {
        match (&self.announced, &self.lease) {
            (Leadership::Leader(fence), Lease::Held(held)) if held.silence(now) <= held.ttl => Some(fence),
            _ => None,
        }
    }

    pub fn step(&mut self, now: At, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        // What comes after the lease's end, e.g. to a process that was stopped, must not count as its life.
        self.end_if_silent(now, &mut commands);
        self.take(now, event, &mut commands);
        self.pass_time(now, &mut commands);
        commands
    }

    fn take(&mut self, now: At, event: Event, commands: &mut Vec<Command>) {
        match event {
            Event::Tick => {}
            Event::Granted { ask, lease, ttl } => self.granted(now, ask, lease, ttl, commands),
            Event::GrantFailed { ask } => self.grant_failed(now, ask),
            Event::Opened { stream } => self.opened(stream),
            Event::Renewed { stream, ttl } => self.renewed(now, stream, ttl, commands),
            Event::StreamFailed { stream } => self.stream_failed(now, stream),
            Event::Seen { ask, contenders } => self.seen(now, ask, contenders, commands),
            Event::StandFailed { ask } => self.stand_failed(now, ask),
            Event::LeaseUnknown { ask } => {
                if matches!(&self.lease, Lease::Held(held) if held.standing == Some(ask)) {
                    self.lose(now, commands);
                }
            }
            Event::ElectionMoved => {
                if let Lease::Held(held) = &mut self.lease {
                    held.moved = true;
                    held.stand_at = held.stand_at.min(now);
                }
            }
            Event::FenceRefused(fence) => {
                if self.announced == Leadership::Leader(fence) {
                    self.announce(Leadership::Standby { leader: None }, commands);
                    if let Lease::Held(held) = &mut self.lease {
                        held.stand_at = now;
                    }
                }
            }
            Event::Resigned => {
                self.lose(now, commands);
                commands.extend(self.given_up.drain(..).map(|lease| Command::Revoke { lease }));
                self.lease = Lease::Resigned;
            }
        }
    }

    fn granted(&mut self, now: At, ask: u64, lease: i64, ttl: Duration, commands: &mut Vec<Command>) {
        let asked_at = match self.lease {
            Lease::Asked { ask: asked, at } if asked == ask => at,
            _ => return commands.push(Command::Revoke { lease }),
        };
        self.failures = 0;
        // etcd answers again, so what we gave up while it did not can be cleared away.
        commands.extend(self.given_up.drain(..).map(|lease| Command::Revoke { lease }));
        self.lease = Lease::Held(Held {
            id: lease,
            ttl,
            renewed_at: asked_at,
            stream: Stream::Closed { open_at: now },
            standing: None,
            stand_at: now,
            moved: false,
        });
        self.end_if_silent(now, commands);
    }

    fn grant_failed(&mut self, now: At, ask: u64) {
        if matches!(self.lease, Lease::Asked { ask: asked, .. } if asked == ask) {
            self.failures = (self.failures + 1).min(4);
            let wait = self.jittered((self.ttl_asked / 16) * (1 << self.failures));
            self.lease = Lease::None { again_at: now + wait };
        }
    }

    fn opened(&mut self, stream: u64) {
        let Lease::Held(held) = &mut self.lease else { return };
        if let Stream::Opening { number, at } = held.stream
            && number == stream
        {
            held.renewed_at = held.renewed_at.max(at);
            held.stream = Stream::Open { number, sent: VecDeque::new(), renew_at: at + held.ttl / 3 };
        }
    }

    fn renewed(&mut self, now: At, stream: u64, ttl: Duration, commands: &mut Vec<Command>) {
        let Lease::Held(held) = &mut self.lease else { return };
        let is_expired = ttl.is_zero();
        match &mut held.stream {
            Stream::Opening { number, .. } | Stream::Open { number, .. } if *number != stream => {}
            Stream::Opening { .. } | Stream::Open { .. } if is_expired => self.lose(now, commands),
            Stream::Open { sent, .. } => {
                if let Some(at) = sent.pop_front() {
                    held.renewed_at = held.renewed_at.max(at);
                    held.ttl = ttl;
                }
            }
            Stream::Opening { .. } | Stream::Closed { .. } => {}
        }
    }

    fn stream_failed(&mut self, now: At, stream: u64) {
        let wait = self.jittered(self.ttl_asked / 16);
        let Lease::Held(held) = &mut self.lease else { return };
        match held.stream {
            Stream::Opening { number, .. } | Stream::Open { number, .. } if number == stream => {
                held.stream = Stream::Closed { open_at: now + wait };
            }
            _ => {}
        }
    }

    fn seen(&mut self, now: At, ask: u64, mut contenders: Vec<Contender>, commands: &mut Vec<Command>) {
        let Lease::Held(held) = &mut self.lease else { return };
        if held.standing != Some(ask) {
            return;
        }
        held.standing = None;
        held.stand_at = if held.moved { now } else { now + held.ttl / 3 };
        held.moved = false;
        let ours = key_of(&self.prefix, held.id);
        contenders.sort_by_key(|contender| contender.create_revision);
        let leadership = match contenders.into_iter().next() {
            Some(Contender { key, create_revision, .. }) if key == ours => {
                Leadership::Leader(Fence { key, create_revision })
            }
            other => Leadership::Standby { leader: other.map(|contender| contender.address) },
        };
        self.announce(leadership, commands);
    }

    fn stand_failed(&mut self, now: At, ask: u64) {
        let wait = self.jittered(self.ttl_asked / 10);
        let Lease::Held(held) = &mut self.lease else { return };
        if held.standing == Some(ask) {
            held.standing = None;
            held.moved = false;
            held.stand_at = now + wait;
        }
    }

    fn pass_time(&mut self, now: At, commands: &mut Vec<Command>) {
        self.end_if_silent(now, commands);
        if matches!(self.lease, Lease::None { again_at } if now >= again_at) {
            let ask = self.number();
            self.lease = Lease::Asked { ask, at: now };
            commands.push(Command::Grant { ask });
        }
        // Numbers are taken whether needed or not: they only have to differ.
        let (stream, ask) = (self.number(), self.number());
        if let Lease::Held(held) = &mut self.lease {
            held.tend_stream(now, stream, commands);
            if held.standing.is_none() && now >= held.stand_at {
                held.standing = Some(ask);
                held.moved = false;
                commands.push(Command::Stand { ask, lease: held.id });
            }
        }
    }

    fn end_if_silent(&mut self, now: At, commands: &mut Vec<Command>) {
        if matches!(&self.lease, Lease::Held(held) if held.silence(now) > held.ttl) {
            self.lose(now, commands);
        }
    }

    /// Gives the lease up, and begins again.
    fn lose(&mut self, now: At, commands: &mut Vec<Command>) {
        self.announce(Leadership::Lost, commands);
        let wait = self.jittered(self.ttl_asked / 16);
        if let Lease::Held(held) = std::mem::replace(&mut self.lease, Lease::None { again_at: now + wait }) {
            self.given_up.push(held.id);
            if let Stream::Opening { number, .. } | Stream::Open { number, .. } = held.stream {
                commands.push(Command::Close { stream: number });
            }
        }
    }

    fn announce(&mut self, leadership: Leadership, commands: &mut Vec<Command>) {
        if self.announced != leadership {
            self.announced = leadership.clone();
            commands.push(Command::Announce(leadership));
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Between half and one and a half of it, so that candidates that failed together do not return together.
    fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(0.5 + self.random.unit())
    }
}

impl Held {
    fn silence(&self, now: At) -> Duration {
        now.saturating_sub(self.renewed_at)
    }

    fn tend_stream(&mut self, now: At, fresh: u64, commands: &mut Vec<Command>) {
        let is_broken = match &self.stream {
            Stream::Open { .. } => self.silence(now) > self.ttl * 2 / 3,
            Stream::Opening { at, .. } => now.saturating_sub(*at) > self.ttl / 3,
            Stream::Closed { open_at } => now >= *open_at,
        };
        if is_broken {
            self.stream = Stream::Opening { number: fresh, at: now };
            commands.push(Command::Open { stream: fresh, lease: self.id });
        } else if let Stream::Open { number, sent, renew_at } = &mut self.stream
            && now >= *renew_at
        {
            sent.push_back(now);
            *renew_at = now + self.ttl / 3;
            commands.push(Command::Renew { stream: *number });
        }
    }
}
