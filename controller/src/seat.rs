//! The place of a controller among those that share a fleet: it leads, or it says who does.

use crate::fleet::Controller;
use crate::store::Store;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataValue;

/// Tells operators where the leader is; empty where that is not known.
const LEADER: &str = "squall-leader";
/// Tells operators which controller keeps the files of a result.
pub const KEPT_AT: &str = "squall-kept-at";

/// Where a controller stands now.
pub enum Standing {
    Leads(Controller),
    Follows { leader: Option<String> },
}

/// What the services ask before they do anything; cheap to clone.
#[derive(Clone)]
pub struct Seat {
    store: Arc<dyn Store>,
    standing: watch::Receiver<Standing>,
}

/// Another controller leads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NOT_LEADER: {}", self.in_words())]
pub struct NotLeader {
    pub leader: Option<String>,
}

impl NotLeader {
    fn in_words(&self) -> String {
        match &self.leader {
            Some(url) => format!("this controller is a standby; the controller at {url} leads"),
            None => "this controller does not lead, and which one does is being decided".to_owned(),
        }
    }
}

impl From<NotLeader> for Status {
    fn from(not_leader: NotLeader) -> Self {
        let mut status = Self::unavailable(not_leader.to_string());
        let leader = MetadataValue::try_from(not_leader.leader.unwrap_or_default());
        status.metadata_mut().insert(LEADER, leader.unwrap_or_else(|_| MetadataValue::from_static("")));
        status
    }
}

/// Whether the answer is that of a controller that does not lead.
pub fn is_standby(status: &Status) -> bool {
    status.metadata().contains_key(LEADER)
}

/// The leader that an answer names.
pub fn leader_of(status: &Status) -> Option<String> {
    url_in(status, LEADER)
}

/// Who has the files that were asked for.
pub fn keeper_of(status: &Status) -> Option<String> {
    url_in(status, KEPT_AT)
}

fn url_in(status: &Status, key: &str) -> Option<String> {
    let url = status.metadata().get(key)?.to_str().ok()?;
    (!url.is_empty()).then(|| url.to_owned())
}

impl Seat {
    pub fn new(store: Arc<dyn Store>, standing: watch::Receiver<Standing>) -> Self {
        Self { store, standing }
    }

    /// The controller that leads, if it is here.
    pub fn controller(&self) -> Result<Controller, NotLeader> {
        match &*self.standing.borrow() {
            Standing::Leads(controller) if controller.leads() => Ok(controller.clone()),
            Standing::Leads(_) => Err(NotLeader { leader: None }),
            Standing::Follows { leader } => Err(NotLeader { leader: leader.clone() }),
        }
    }

    /// What this controller keeps, whether it leads or not.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// The only one there is.
impl From<&Controller> for Seat {
    fn from(controller: &Controller) -> Self {
        let store = controller.shared().store.clone();
        Self::new(store, watch::channel(Standing::Leads(controller.clone())).1)
    }
}
