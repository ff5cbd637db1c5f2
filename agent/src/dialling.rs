//! Which controller to dial next, and when.

use squall_common::random::Random;
use std::time::{Duration, Instant};
use tonic::transport::Uri;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Where a controller was reached lately: load goes on for a load lease without one,
/// and within it another may take over.
const SOON_PAUSE: Duration = Duration::from_secs(1);
const LATELY: Duration = Duration::from_secs(30);

/// Controllers in the order to try them, and the pauses between attempts: short
/// at first, doubling, each spread at random so that a fleet does not come back
/// in one wave.
pub struct Dialling {
    controllers: Vec<Uri>,
    place: usize,
    /// Where a controller said that the leader is.
    leader: Option<Uri>,
    /// A leader that was followed last: not at once again.
    followed: Option<Uri>,
    pause: Duration,
    attempts: u64,
    seed: u64,
    reached: Instant,
}

impl Dialling {
    /// At least one controller.
    pub fn new(controllers: Vec<Uri>) -> Self {
        let seed = crate::clock::now_ns() ^ u64::from(std::process::id());
        Self {
            controllers,
            place: 0,
            leader: None,
            followed: None,
            pause: FIRST_PAUSE,
            attempts: 0,
            seed,
            reached: Instant::now(),
        }
    }

    /// The controller to dial now.
    pub fn next_controller(&mut self) -> Uri {
        self.followed = self.leader.take();
        self.current()
    }

    /// The controller dialled last.
    pub fn current(&self) -> Uri {
        match &self.followed {
            Some(leader) => leader.clone(),
            None => self.controllers[self.place % self.controllers.len()].clone(),
        }
    }

    /// A controller named the leader: dial it at once, unless we just did and it said no.
    pub fn go_to(&mut self, leader: &str) -> bool {
        let Ok(leader) = leader.parse::<Uri>() else { return false };
        if self.followed.as_ref() == Some(&leader) {
            return false;
        }
        self.leader = Some(leader);
        true
    }

    /// The controller dialled last went silent, so it is not tried first.
    pub fn turn(&mut self) {
        self.place += 1;
    }

    /// How long to wait before the next attempt, which goes to the next controller.
    pub fn pause_after(&mut self, was_welcome: bool) -> Duration {
        if was_welcome {
            // It was the right one: it is tried again first.
            (self.reached, self.pause) = (Instant::now(), FIRST_PAUSE);
        } else {
            self.place += 1;
        }
        self.followed = None;
        self.attempts += 1;
        let spread = 0.5 + Random::at(self.seed, &[self.attempts]).below(1_000) as f64 / 1_000.0;
        let longest =
            if self.controllers.len() > 1 && self.unreached_for() < LATELY { SOON_PAUSE } else { LONGEST_PAUSE };
        let pause = self.pause.min(longest).mul_f64(spread);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Since when no controller was reached.
    pub fn unreached_for(&self) -> Duration {
        self.reached.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Dialling {
        Dialling::new(vec![Uri::from_static("http://a:1"), Uri::from_static("http://b:1")])
    }

    #[test]
    fn controllers_take_turns_until_one_is_reached() {
        let mut dialling = two();
        assert_eq!(dialling.next_controller().host(), Some("a"));
        dialling.pause_after(false);
        assert_eq!(dialling.next_controller().host(), Some("b"));
        dialling.pause_after(true);
        assert_eq!(dialling.next_controller().host(), Some("b"), "the one that was reached comes first");
    }

    #[test]
    fn a_named_leader_is_followed_once_and_not_in_circles() {
        let mut dialling = two();
        dialling.next_controller();
        assert!(dialling.go_to("http://c:1"));
        assert_eq!(dialling.next_controller().host(), Some("c"));
        assert!(!dialling.go_to("http://c:1"), "it has just said no");
        assert!(!dialling.go_to("no address at all \n"));
    }

    #[test]
    fn one_that_went_silent_is_not_tried_first() {
        let mut dialling = two();
        dialling.next_controller();
        dialling.turn();
        dialling.pause_after(true);
        assert_eq!(dialling.next_controller().host(), Some("b"));
    }

    #[test]
    fn of_several_controllers_another_is_looked_for_soon() {
        let mut dialling = two();
        assert!((0..20).all(|_| dialling.pause_after(false) <= SOON_PAUSE * 3 / 2));
    }

    #[test]
    fn pauses_grow_to_their_limit_and_are_spread() {
        let mut dialling = Dialling::new(vec![Uri::from_static("http://a:1")]);
        let pauses: Vec<Duration> = (0..20).map(|_| dialling.pause_after(false)).collect();
        assert!(pauses[0] <= FIRST_PAUSE * 3 / 2 && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE * 3 / 2));
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
