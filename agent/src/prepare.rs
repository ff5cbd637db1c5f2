//! A plan bundle → a run that is ready to start, or the reason why not.

use crate::AgentOptions;
use crate::ceiling::Exceeded;
use crate::http::{Failure, PrepareError, TargetShared};
use crate::secrets::{NoSecret, Secrets};
use crate::tokens::{NoToken, Tokens};
use crate::worker::{CompileError, CompiledPlan, Keeping, NoKey, Prepared, Pseudonymiser, secrets_in_headers};
use squall_common::interval::FlowTable;
use squall_common::plan::file::PlanProblems;
use squall_common::plan::limits::{self, TooLarge};
use squall_common::plan::{LoadModel, Plan};
use squall_common::sample::Outcome;
use squall_common::wire::{Malformed, bundle_digest, read_bundle, read_share};
use squall_prompts::{PromptProblems, PromptSource};
use squall_proto as proto;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// One connection to every target must stand within this time.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Why this agent cannot take its share. The text goes to the user as it is.
#[derive(Debug, thiserror::Error)]
pub enum CannotPrepare {
    #[error("the controller sent no plan")]
    NoPlan,
    #[error("the plan differs from the one announced (digest {got}, announced {announced})")]
    Digest { got: String, announced: String },
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("the plan is not valid here:\n{0}")]
    Plan(PlanProblems),
    #[error(transparent)]
    Share(#[from] Malformed),
    #[error("{shares} shares came for {loads} loads")]
    ShareCount { shares: usize, loads: usize },
    #[error(transparent)]
    Ceiling(#[from] Exceeded),
    #[error(transparent)]
    Secret(#[from] NoSecret),
    #[error("{0}")]
    Prompts(PromptProblems),
    #[error(transparent)]
    Token(#[from] NoToken),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Key(#[from] NoKey),
    #[error(transparent)]
    Target(#[from] PrepareError),
    #[error("target `{target}` ({authority}) cannot be reached: {reason}")]
    Unreachable { target: String, authority: String, reason: String },
    #[error(
        "the plan asks for a sample log: start the agent with `--sample-log DIR` (`squall run` alone: leave out \
         `--no-out`), or remove `sample_log`"
    )]
    NoSampleLog,
}

/// A prepared run and what the user should know of it.
pub struct Ready {
    pub prepared: Arc<Prepared>,
    pub warnings: Vec<String>,
}

/// Validates, resolves secrets and names, loads certificates and opens a
/// connection to every target.
pub async fn prepare(order: &proto::Prepare, slot: &str, options: &AgentOptions) -> Result<Ready, CannotPrepare> {
    let bundle = order.bundle.as_ref().ok_or(CannotPrepare::NoPlan)?;
    let digest = bundle_digest(bundle);
    if digest != order.plan_digest {
        return Err(CannotPrepare::Digest { got: digest, announced: order.plan_digest.clone() });
    }
    let source = read_bundle(bundle);
    limits::check(&source)?;
    let loaded = squall_common::plan::file::load(&source).map_err(CannotPrepare::Plan)?;
    let mut plan = loaded.plan;
    let shares = order.shares.iter().map(read_share).collect::<Result<Vec<_>, _>>()?;
    if shares.len() != plan.loads.len() {
        return Err(CannotPrepare::ShareCount { shares: shares.len(), loads: plan.loads.len() });
    }
    let budget = options.guard.ceilings.judge(&plan, &shares)?;
    for (target, most) in plan.targets.iter_mut().zip(&budget.connections) {
        target.connections.max_connections = most.or(target.connections.max_connections);
    }
    let plan = Arc::new(plan);
    let sample_log = match (plan.sample_log, &options.sample_log) {
        (false, _) => None,
        (true, Some(directory)) => Some(directory.join(format!("samples-{slot}"))),
        (true, None) => return Err(CannotPrepare::NoSampleLog),
    };
    let secrets = Arc::new(Secrets::read(&plan.secrets, secrets_in_headers(&plan))?);
    let keeping = match plan.keep_errors {
        Some(asked) => {
            let pseudonyms = asked.pseudonymise.map(|by| Pseudonymiser::new(by, &secrets)).transpose()?;
            Some(Keeping { asked, pseudonyms })
        }
        None => None,
    };
    let tokens = Tokens::fetch(&secrets, &options.guard.allow).await?;
    let prompts = prompt_sources(&plan, order.seed).await?;
    let compiled = CompiledPlan::new(&plan, &secrets)?;
    let mut targets = Vec::with_capacity(plan.targets.len());
    for target in &plan.targets {
        targets.push(TargetShared::prepare(target, &options.guard.allow).await?);
    }
    for (target, shared) in plan.targets.iter().zip(&targets) {
        let unreachable = |reason: String| CannotPrepare::Unreachable {
            target: target.name.clone(),
            authority: target.authority(),
            reason,
        };
        match tokio::time::timeout(PROBE_LIMIT, shared.probe()).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return Err(unreachable(with_advice(&failure))),
            Err(_) => return Err(unreachable(format!("no connection within {} s", PROBE_LIMIT.as_secs()))),
        }
    }
    let mut warnings = Vec::new();
    for (load, share) in plan.loads.iter().zip(&shares) {
        if let LoadModel::Open { max_in_flight: Some(limit), .. } = &load.model
            && share.numerator() > 0
            && share.count_of(limit.limit.into()) == 0
        {
            warnings.push(format!(
                "load `{}`: max_in_flight {} is less than its agents; this one takes 1 all the same",
                load.name, limit.limit
            ));
        }
    }
    // Only arrivals have an instant that nobody waits for.
    let has_arrivals = plan.loads.iter().any(|load| matches!(load.model, LoadModel::Open { .. }));
    let busy_poll_ns = if has_arrivals { options.busy_poll.window_ns() } else { 0 };
    let flows = Arc::new(FlowTable::of(&plan));
    if flows.folded() > 0 {
        warnings.push(format!("{} series beyond the bound are folded into `other`", flows.folded()));
    }
    let prepared = Arc::new(Prepared {
        plan,
        compiled,
        targets,
        shares,
        seed: order.seed,
        flows,
        secrets,
        tokens,
        prompts,
        budget,
        lease_until_ns: AtomicU64::new(0),
        sample_log,
        busy_poll_ns,
        keeping,
    });
    Ok(Ready { prepared, warnings })
}

/// Reads and counts every prompt now: no request waits for a tokenizer.
async fn prompt_sources(plan: &Arc<Plan>, seed: u64) -> Result<Vec<PromptSource>, CannotPrepare> {
    let plan = plan.clone();
    let build =
        move || plan.prompts.iter().map(|prompts| PromptSource::build(prompts, seed)).collect::<Result<Vec<_>, _>>();
    tokio::task::spawn_blocking(build)
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
        .map_err(CannotPrepare::Prompts)
}

/// Why no connection stands, and what to look at.
fn with_advice(failure: &Failure) -> String {
    match failure.outcome {
        Outcome::ConnectRefused => {
            "connection refused, nothing listens there; start it, or name another: `--target URL`".to_owned()
        }
        Outcome::TimeoutConnect => format!("{failure}; is the address right, and no firewall between?"),
        _ => failure.to_string(),
    }
}
