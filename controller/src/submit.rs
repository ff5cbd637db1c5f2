//! A bundle and a fleet → a run that has begun, or why it cannot.

use crate::driver::{self, Ends, Start};
use crate::events::unix_ms;
use crate::fleet::{Member, Shared};
use crate::plan_source;
use crate::run::Stage;
use crate::store::{StoreError, StoredRun};
use prost::Message;
use squall_common::allow::NotAllowed;
use squall_common::plan::{Plan, Region};
use squall_common::split::{Share, agent_weights};
use squall_common::wire;
use squall_proto::{PlanBundle, SubmitRunRequest};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// Waiting for agents is bounded, whatever is asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Why a run did not begin.
#[derive(Debug, Error)]
pub enum NotSubmitted {
    /// Every problem of the plan, as it is to be shown.
    #[error("{0}")]
    Plan(String),
    #[error(
        "target `{target}`: {refusal} where the controller is started (`squall serve`); agents have lists of their own"
    )]
    Target { target: String, refusal: NotAllowed },
    #[error("{0}")]
    Agents(String),
    #[error("agent `{agent}` works for run {run} (`{name}`): wait for its end, or stop it with `squall stop {run}`")]
    Busy { agent: String, run: String, name: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Agents and what each carries, by load.
type Dealt = (Vec<Member>, Vec<Vec<Share>>);

pub(crate) async fn submit(shared: &Arc<Shared>, request: SubmitRunRequest) -> Result<String, NotSubmitted> {
    let bundle = request.bundle.unwrap_or_default();
    let loaded = plan_source::load(&bundle).map_err(NotSubmitted::Plan)?;
    let run_id = match request.run_id.as_str() {
        "" => ulid::Ulid::new().to_string(),
        chosen => chosen_id(chosen)?,
    };
    if let Some(known) = known_run(shared, &run_id).await? {
        // Asked again after a lost answer: it has begun already.
        return match known == wire::bundle_digest(&bundle) {
            true => Ok(run_id),
            false => Err(NotSubmitted::Plan(format!("run {run_id} exists, with another plan; submit under a new id"))),
        };
    }
    let wait = Duration::from_millis(request.wait_for_agents_ms).max(loaded.plan.start_when.within).min(LONGEST_WAIT);
    let least = loaded.plan.min_agents.max(request.min_agents as usize);
    for target in &loaded.plan.targets {
        // Agents look names up; only they see where one leads.
        shared
            .options
            .allow
            .check_host(&target.host, target.port)
            .map_err(|refusal| NotSubmitted::Target { target: target.name.clone(), refusal })?;
    }
    let (members, shares) = wait_for_agents(shared, &loaded.plan, least, Instant::now() + wait).await?;

    let name = loaded.plan.name.clone();
    let ends = shared.claim(&run_id, &name, &members).map_err(|agent| {
        NotSubmitted::Agents(format!("agent `{agent}` was taken or left while the run was submitted; submit it again"))
    })?;
    let status = StoredRun {
        run_id: run_id.clone(),
        name,
        state: Stage::Preparing.name().to_owned(),
        created_unix_ms: unix_ms(),
        ..StoredRun::default()
    };
    let start = Start { run_id: run_id.clone(), bundle, loaded, members, shares, status };
    // Apart from the caller: one that hangs up now must not leave agents claimed by a run that nobody drives.
    let begun = tokio::spawn(begin(shared.clone(), start, ends)).await;
    begun.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))?;
    Ok(run_id)
}

/// Ids sort by their time, so a chosen one must be of now.
fn chosen_id(text: &str) -> Result<String, NotSubmitted> {
    match ulid::Ulid::from_string(text) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(NotSubmitted::Plan(format!("`{}` is no run id: a run id is a ULID", text.escape_debug()))),
    }
}

/// The digest of a run's plan, if there is such a run.
async fn known_run(shared: &Shared, run_id: &str) -> Result<Option<String>, NotSubmitted> {
    let (store, run_id) = (shared.store.clone(), run_id.to_owned());
    let read = tokio::task::spawn_blocking(move || store.bundle(&run_id)).await;
    let bytes = read.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))?;
    Ok(bytes.and_then(|bytes| PlanBundle::decode(bytes).ok()).map(|bundle| wire::bundle_digest(&bundle)))
}

/// Writes the run down and lets it go.
async fn begin(shared: Arc<Shared>, start: Start, ends: Ends) -> Result<(), NotSubmitted> {
    let (store, stored, bytes) = (shared.store.clone(), start.status.clone(), start.bundle.encode_to_vec());
    let created = tokio::task::spawn_blocking(move || store.create_run(&stored, &bytes)).await;
    let created = created.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())));
    if let Err(error) = created {
        shared.retire(&start.run_id, &start.members);
        return Err(error.into());
    }
    tracing::info!(run = %start.run_id, agents = start.members.len(), "run submitted");
    tokio::spawn(driver::drive(shared, start, ends));
    Ok(())
}

/// Deals the plan to the agents that are there, once there are enough.
async fn wait_for_agents(shared: &Shared, plan: &Plan, least: usize, deadline: Instant) -> Result<Dealt, NotSubmitted> {
    let mut changes = shared.changes();
    loop {
        changes.mark_unchanged();
        let refusal = match deal(plan, &shared.fleet(), least) {
            Err(refusal @ NotSubmitted::Agents(_)) => refusal,
            settled => return settled,
        };
        let changed = tokio::time::timeout_at(deadline, changes.changed()).await;
        if !matches!(changed, Ok(Ok(()))) {
            return Err(refusal);
        }
    }
}

/// Splits every load over the connected agents; those that would carry nothing are left out.
fn deal(plan: &Plan, fleet: &[(Member, Option<(String, String)>)], least: usize) -> Result<Dealt, NotSubmitted> {
    let least = least.max(plan.start_when.agents).max(1);
    if fleet.len() < least {
        return Err(NotSubmitted::Agents(format!(
            "{} of {least} agents are connected; start one: `squall-agent --controller URL --region R`",
            fleet.len()
        )));
    }
    let regions: Vec<Region> = fleet.iter().map(|(member, _)| member.region.clone()).collect();
    for (region, wanted) in &plan.start_when.regions {
        let there = regions.iter().filter(|there| *there == region).count();
        if there < *wanted {
            return Err(NotSubmitted::Agents(format!(
                "{there} of {wanted} agents are connected in region `{region}`, which `start_when` asks for"
            )));
        }
    }
    let by_load: Vec<Vec<u32>> = plan
        .loads
        .iter()
        .map(|load| agent_weights(load, &regions))
        .collect::<Result<_, _>>()
        .map_err(|cannot| NotSubmitted::Agents(cannot.to_string()))?;
    let carrying: Vec<usize> =
        (0..fleet.len()).filter(|&place| by_load.iter().any(|weights| weights[place] > 0)).collect();
    if let Some((member, Some((run, name)))) =
        carrying.iter().map(|&place| &fleet[place]).find(|(_, run)| run.is_some())
    {
        let (agent, run, name) = (member.slot.clone(), run.clone(), name.clone());
        return Err(NotSubmitted::Busy { agent, run, name });
    }
    let members = carrying.iter().map(|&place| fleet[place].0.clone()).collect();
    let kept: Vec<Arc<[u32]>> =
        by_load.iter().map(|weights| carrying.iter().map(|&place| weights[place]).collect()).collect();
    let share = |weights: &Arc<[u32]>, place| {
        Share::new(weights.clone(), place).map_err(|invalid| NotSubmitted::Agents(invalid.to_string()))
    };
    let shares = (0..carrying.len())
        .map(|place| kept.iter().map(|weights| share(weights, place)).collect::<Result<Vec<_>, _>>())
        .collect::<Result<Vec<_>, _>>()?;
    Ok((members, shares))
}
