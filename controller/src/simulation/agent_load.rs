//! The load of one agent: its share of the arrivals, second by second, while
//! its lease holds. What it really sends is noted apart, as a target would count it.

use super::world::{Event, MS, Wake, World};
use squall_agent::lease::Lease;
use squall_agent::outgoing::Outgoing;
use squall_common::interval::{Flow, FlowKey, INTERVAL_NS, IntervalSnapshot, Series, SeriesKey};
use squall_common::ledger::Ledger;
use squall_common::plan::{LoadId, ScenarioId, StepId, TargetId};
use squall_common::sample::{Outcome, OutcomeClass};
use squall_common::schedule::{Arrival, ArrivalSchedule};
use squall_common::wire;
use squall_proto::{Finished, Prepare};

/// How often the load looks at its clock, its lease and its orders.
const LOOK: u64 = 100 * MS;
const FLOW: FlowKey = FlowKey { scenario: ScenarioId(0), step: StepId(0), target: TargetId(0) };

/// One run in an agent process.
pub struct AgentRun {
    pub order: Prepare,
    pub attempt: u64,
    pub start_ns: Option<u64>,
    pub outgoing: Outgoing,
    /// The lease as the protocol means it, kept apart from the one that is obeyed.
    pub truth_lease: Lease,
    schedule: Option<std::iter::Peekable<ArrivalSchedule>>,
    interval: u32,
    now: Flow,
    answered: u64,
    in_flight: u64,
    totals: Ledger,
    /// Why no request is sent any more.
    ended_by: Option<&'static str>,
    is_finished: bool,
}

impl AgentRun {
    pub fn begin(order: Prepare, slot: &str, attempt: u64, lease: Lease) -> Self {
        Self {
            outgoing: Outgoing::new(&order.run_id, slot, order.epoch, order.keep_all),
            order,
            attempt,
            start_ns: None,
            truth_lease: lease,
            schedule: None,
            interval: 0,
            now: Flow::default(),
            answered: 0,
            in_flight: 0,
            totals: Ledger::default(),
            ended_by: None,
            is_finished: false,
        }
    }

    /// Whether it would send, if its lease let it.
    pub fn offers_load(&self) -> bool {
        self.start_ns.is_some() && self.ended_by.is_none()
    }

    fn roll_until(&mut self, interval: u32) {
        while self.interval < interval {
            self.roll();
        }
    }

    fn roll(&mut self) {
        let mut snapshot = IntervalSnapshot::of(self.interval);
        let flow = std::mem::take(&mut self.now);
        if !flow.is_empty() {
            snapshot.flows.insert(FLOW, flow);
        }
        if self.answered > 0 {
            let mut series = Series::default();
            series.outcomes[Outcome::Ok as usize] = std::mem::take(&mut self.answered);
            snapshot.series.insert(SeriesKey { flow: FLOW, class: OutcomeClass::Ok }, series);
        }
        self.interval += 1;
        self.outgoing.take(snapshot);
    }

    fn answer(&mut self, requests: u64) {
        self.in_flight -= requests;
        self.answered += requests;
        self.totals.completed += requests;
    }

    fn finish(&mut self) {
        self.now.cut_off += self.in_flight;
        self.totals.cut_off += std::mem::take(&mut self.in_flight);
        if self.start_ns.is_some() {
            self.roll();
        }
        self.is_finished = true;
        let (totals, order, ended_by) = (self.totals, &self.order, self.ended_by.unwrap_or_default());
        let (run_id, epoch) = (order.run_id.clone(), order.epoch);
        self.outgoing.finish(|uplink| Finished {
            run_id,
            epoch,
            last_sequence: uplink.last_sequence(),
            planned: totals.planned,
            sent: totals.sent,
            skipped: totals.skipped,
            completed: totals.completed,
            failed: totals.failed,
            cut_off: totals.cut_off,
            ended_by: ended_by.to_owned(),
            ..Finished::default()
        });
    }
}

impl World {
    pub fn begin_load(&mut self, agent: usize) {
        let (phases, arrivals) = self.load();
        let seed = self.plan.seed;
        let Some(run) = &self.agents[agent].run else { return };
        let share = wire::read_share(&run.order.shares[0]).expect("a share that the controller wrote");
        let schedule = ArrivalSchedule::new(phases, arrivals, seed, LoadId(0), &share);
        let attempt = run.attempt;
        if let Some(run) = &mut self.agents[agent].run {
            run.schedule = Some(schedule.peekable());
        }
        self.after(0, Event::Agent(agent, Wake::Load(attempt)));
    }

    pub fn stop_load(&mut self, agent: usize, now: bool) {
        let Some(run) = &mut self.agents[agent].run else { return };
        if run.is_finished {
            return;
        }
        run.ended_by.get_or_insert("stopped");
        if now || run.start_ns.is_none() {
            run.finish();
        }
    }

    pub fn load_looks(&mut self, agent: usize, attempt: u64) {
        let (local, lease) = (self.agents[agent].clock.at(self.now), self.agents[agent].lease);
        let Some(run) = self.agents[agent].run.as_mut().filter(|run| run.attempt == attempt && !run.is_finished) else {
            return;
        };
        let Some(start_ns) = run.start_ns else { return };
        if local < start_ns {
            let wait = (start_ns - local).min(LOOK);
            return self.after(wait.max(1), Event::Agent(agent, Wake::Load(attempt)));
        }
        run.roll_until(u32::try_from((local - start_ns) / INTERVAL_NS).unwrap_or(u32::MAX));
        let before = run.in_flight;
        run.answer(before);
        let due = |arrival: &Arrival| start_ns + arrival.offset_ns <= local;
        let mut sent = 0;
        while run.ended_by.is_none() && run.schedule.as_mut().is_some_and(|left| left.peek().is_some_and(due)) {
            if local >= lease.until_ns() {
                run.ended_by = Some("lease");
                break;
            }
            run.schedule.as_mut().and_then(Iterator::next);
            run.now.planned += 1;
            run.now.sent += 1;
            run.totals.planned += 1;
            run.totals.sent += 1;
            run.in_flight += 1;
            sent += 1;
        }
        let (interval, epoch) = (run.interval, run.order.epoch);
        if run.schedule.as_mut().is_none_or(|left| left.peek().is_none()) {
            run.ended_by.get_or_insert("schedule");
        }
        // Some are answered at once, others by the next look.
        let at_once = self.random.below(run.in_flight + 1);
        run.answer(at_once);
        if run.ended_by.is_some() && run.in_flight == 0 {
            run.finish();
        }
        let truth_lease = run.truth_lease;
        if sent > 0 {
            if local >= truth_lease.until_ns() {
                panic!("agent {agent} sent load after its lease");
            }
            self.truth.sent(epoch, interval, sent);
        }
        self.after(LOOK, Event::Agent(agent, Wake::Load(attempt)));
        self.settle(agent);
    }
}
