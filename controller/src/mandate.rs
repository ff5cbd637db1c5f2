//! Whether a controller may still act.
//!
//! Alone it always may. One of several may while it leads; once it does not, that
//! is final for this controller: nothing more is sent or written, whatever becomes
//! known later. Who leads again begins anew, from what is stored.

use tokio::sync::watch;

type Leads = Box<dyn Fn() -> bool + Send + Sync>;

/// The right to act.
pub struct Mandate {
    over: watch::Sender<bool>,
    leads: Option<Leads>,
}

impl Mandate {
    /// Of the only controller of its fleet.
    pub fn of_one() -> Self {
        Self { over: watch::Sender::new(false), leads: None }
    }

    /// Of one of several, as long as `leads` says so.
    #[cfg(any(test, feature = "etcd"))]
    pub fn while_leading(leads: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { over: watch::Sender::new(false), leads: Some(Box::new(leads)) }
    }

    pub fn holds(&self) -> bool {
        if *self.over.borrow() {
            return false;
        }
        let leads = self.leads.as_ref().is_none_or(|leads| leads());
        if !leads {
            self.end();
        }
        leads
    }

    pub fn end(&self) {
        self.over.send_if_modified(|over| !std::mem::replace(over, true));
    }

    /// Returns once it is over.
    #[cfg(feature = "etcd")]
    pub async fn ended(&self) {
        // The sender is ours: this ends only with the mandate.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn what_was_over_once_stays_over() {
        let leads = Arc::new(AtomicBool::new(true));
        let asked = leads.clone();
        let mandate = Mandate::while_leading(move || asked.load(Ordering::Relaxed));
        assert!(mandate.holds() && Mandate::of_one().holds());
        leads.store(false, Ordering::Relaxed);
        assert!(!mandate.holds());
        leads.store(true, Ordering::Relaxed);
        assert!(!mandate.holds());
    }
}
