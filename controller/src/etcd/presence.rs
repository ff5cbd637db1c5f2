//! The leader's word for its agents: a key each, gone with the leader's lease.
//!
//! For who looks into etcd. No decision hangs on it: a new leader believes in the
//! agents that dial it, and in those that the drives of its runs name.

use super::error::EtcdError;
use super::records::AgentRecord;
use super::term::Term;
use crate::fleet::{Controller, Member};
use std::collections::BTreeMap;
use std::time::Duration;

/// Agents that come together are written one after the other; those that come and go meanwhile are not.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// By region and slot: the incarnation, and the revision of its key.
type Told = BTreeMap<(String, String), (String, u64)>;

/// Follows the fleet until the term is over, or etcd no longer answers.
pub async fn vouch(controller: &Controller, term: &Term) {
    let mut changes = controller.shared().changes();
    let mut told = Told::new();
    loop {
        changes.mark_unchanged();
        let fleet = controller.shared().fleet().into_iter().map(|(member, _)| member).collect();
        match tell(term, &mut told, fleet).await {
            Err(EtcdError::FenceGone) => return,
            // What is missing is written with the next change.
            Err(error) => tracing::debug!(%error, "agents in etcd are behind"),
            Ok(()) => {}
        }
        tokio::time::sleep(AT_MOST_EVERY).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(term: &Term, told: &mut Told, fleet: Vec<Member>) -> Result<(), EtcdError> {
    let place = |member: &Member| (member.region.to_string(), member.slot.clone());
    let gone: Vec<_> = told.keys().filter(|at| !fleet.iter().any(|member| place(member) == **at)).cloned().collect();
    for at in gone {
        if let Some((_, revision)) = told.get(&at) {
            term.remove_agent(&at.0, &at.1, *revision).await?;
        }
        told.remove(&at);
    }
    for member in fleet {
        let at = place(&member);
        if told.get(&at).is_some_and(|(incarnation, _)| *incarnation == member.incarnation) {
            continue;
        }
        let record = AgentRecord {
            incarnation: member.incarnation.clone(),
            address: String::new(),
            capabilities: Vec::new(),
            version: member.version,
            state: "connected".to_owned(),
        };
        let revision = term.put_agent(&at.0, &at.1, &record).await?;
        told.insert(at, (member.incarnation, revision));
    }
    Ok(())
}
