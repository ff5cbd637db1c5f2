//! Who may use the machine: a few tests together, or one that measures time alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Tests at a time; each runs several processes.
const AT_ONCE: usize = 2;

#[derive(Default)]
struct Use {
    places_taken: usize,
    wanted_alone: usize,
}

static USE: Mutex<Use> = Mutex::new(Use { places_taken: 0, wanted_alone: 0 });
static CHANGED: Condvar = Condvar::new();

/// A part of the machine, until dropped.
#[must_use = "dropped at once, it keeps nobody away"]
pub struct Place {
    places: usize,
}

/// For tests that count.
pub fn shared() -> Place {
    let free = |state: &mut Use| state.places_taken >= AT_ONCE || state.wanted_alone > 0;
    let mut state = CHANGED.wait_while(state(), free).unwrap_or_else(PoisonError::into_inner);
    state.places_taken += 1;
    Place { places: 1 }
}

/// For tests that measure time.
pub fn alone() -> Place {
    let mut waiting = state();
    waiting.wanted_alone += 1;
    let taken = |state: &mut Use| state.places_taken > 0;
    let mut state = CHANGED.wait_while(waiting, taken).unwrap_or_else(PoisonError::into_inner);
    state.wanted_alone -= 1;
    state.places_taken = AT_ONCE;
    Place { places: AT_ONCE }
}

fn state() -> MutexGuard<'static, Use> {
    USE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Place {
    fn drop(&mut self) {
        state().places_taken -= self.places;
        CHANGED.notify_all();
    }
}
