//! Everything a report is made from: one finished run.

use crate::identity::transport::Transport;
use squall_common::merge::RunMerge;
use squall_common::slo::Judgement;
use squall_common::verdict::{Hole, Verdict};
use std::time::{Duration, SystemTime};

/// One finished run, merged and judged. Reports are functions of this (and of
/// the stored intervals, for time series): events in, bytes out.
#[derive(Clone, Debug)]
pub struct RunRecord {
    pub run_id: String,
    pub started_at: SystemTime,
    /// From the common start to the last answer, or to the end of the drain.
    pub duration: Duration,
    /// How long load was offered: `duration` without the drain.
    pub load_time: Duration,
    /// Where load would have ended; `None` when iterations alone end it.
    pub planned_time: Option<Duration>,
    /// The whole plan with overrides and vars applied; secrets only as references.
    pub resolved_yaml: String,
    pub merge: RunMerge,
    /// Requests the plan means for the whole fleet, computed apart from the
    /// agents' counts; `None` for closed loads, whose count depends on answers.
    pub planned_by_plan: Option<u64>,
    pub verdict: Verdict,
    /// Why the verdict is what it is, worst last.
    pub reasons: Vec<String>,
    pub judgements: Vec<Judgement>,
    pub holes: Vec<Hole>,
    pub agents: Vec<AgentRecord>,
    pub warnings: Vec<String>,
    /// How the controller could be reached.
    pub transport: Transport,
}

/// What the cluster knows of one agent of the run, beside what is merged under
/// the same position in [`RunMerge::agents`].
#[derive(Clone, Debug, Default)]
pub struct AgentRecord {
    pub slot: String,
    pub region: String,
    pub version: String,
    pub workers: u32,
    /// Controller's clock minus agent's clock, and the bound of its error.
    pub clock_offset_ns: i64,
    pub clock_bound_ns: u64,
    pub clock_exchanges: u32,
    /// First send minus the common start; `None` when nothing was sent.
    pub first_send_skew_ns: Option<i64>,
    pub intervals_expected: u64,
    /// Why its load ended: `schedule`, `stopped`, `lease`.
    pub ended_by: String,
    /// Why it is gone, if it is.
    pub lost: Option<String>,
}
