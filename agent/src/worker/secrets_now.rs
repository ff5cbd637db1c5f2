//! One worker's copy of the secrets: taken off the request path, read on it.

use crate::secrets::{Secrets, Values};
use std::cell::{Cell, RefCell};

pub struct SecretsNow {
    generation: Cell<u64>,
    values: RefCell<Values>,
}

impl SecretsNow {
    pub fn of(secrets: &Secrets) -> Self {
        Self { generation: Cell::new(secrets.generation()), values: RefCell::new(secrets.values()) }
    }

    /// Requests rendered under another generation are out of date.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Takes the new values where there are any.
    pub fn refresh(&self, secrets: &Secrets) {
        let generation = secrets.generation();
        if generation != self.generation.get() {
            // In this order: a change in between is taken at the next look.
            self.generation.set(generation);
            self.values.replace(secrets.values());
        }
    }

    pub fn append(&self, id: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.values.borrow()[usize::from(id)]);
    }
}
