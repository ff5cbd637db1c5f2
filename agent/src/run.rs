//! One run on this agent: its worker threads, and what they hand over.

use crate::clock::now_ns;
use crate::health::{Throttling, resident_bytes};
use crate::joiner::Joiner;
use crate::lease::Lease;
use crate::outgoing::{Outgoing, Telling};
use crate::prepare::Ready;
use crate::uplink::{SpoolBroken, Uplink};
use crate::worker::{self, Adoption, FromWorker, Lane, Orders, Prepared, StopKind, WorkerEnd};
use squall_common::kept::KeptErrors;
use squall_common::ledger::Ledger;
use squall_common::wire::write_error;
use squall_proto as proto;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A share that is taken over late begins so far ahead.
const ADOPT_AHEAD: Duration = Duration::from_millis(200);
/// Intervals under way from workers to the control thread.
const WORKER_QUEUE: usize = 256;

/// Worker threads of one run and the state of their results.
pub struct Run {
    pub run_id: String,
    pub epoch: u64,
    pub warnings: Vec<String>,
    prepared: Arc<Prepared>,
    orders: watch::Sender<Orders>,
    from_workers: mpsc::Receiver<(u32, FromWorker)>,
    threads: Vec<JoinHandle<()>>,
    refreshes: JoinSet<()>,
    joiner: Joiner,
    outgoing: Outgoing,
    throttling: Throttling,
    ready: usize,
    ends: Vec<WorkerEnd>,
    /// By worker, as they come.
    kept: Vec<KeptErrors>,
    /// Kept samples that one message has no room for.
    kept_left_out: usize,
    start_ns: Option<u64>,
}

/// What a run has to say to the controller.
pub enum RunSays {
    /// All workers stand ready.
    Armed,
    /// There may be more to tell: [`Run::tell`].
    More,
    Failed(String),
}

impl Run {
    /// Starts at most `workers` workers; they wait for [`Run::go`].
    pub fn begin(order: &proto::Prepare, slot: &str, ready: Ready, workers: u32) -> std::io::Result<Self> {
        // Every worker keeps connections of its own: a limit below their number leaves some without any.
        let limits = ready.prepared.plan.targets.iter().filter_map(|target| target.connections.max_connections);
        let workers = limits.fold(workers, u32::min).max(1);
        let (orders, _) = watch::channel(Orders::default());
        let (sender, from_workers) = mpsc::channel(WORKER_QUEUE);
        let mut threads = Vec::new();
        for index in 0..workers {
            let (prepared, orders, sender) = (ready.prepared.clone(), orders.subscribe(), sender.clone());
            let lane = Lane { index, count: workers };
            let body = move || worker::run(prepared, lane, orders, sender);
            threads.push(std::thread::Builder::new().name(format!("squall-worker-{index}")).spawn(body)?);
        }
        let mut refreshes = JoinSet::new();
        for target in &ready.prepared.targets {
            refreshes.spawn(target.clone().run_refresh());
        }
        refreshes.spawn(ready.prepared.secrets.clone().run_watch());
        refreshes.spawn(ready.prepared.tokens.clone().run());
        Ok(Self {
            run_id: order.run_id.clone(),
            epoch: order.epoch,
            warnings: ready.warnings,
            prepared: ready.prepared,
            orders,
            from_workers,
            threads,
            refreshes,
            joiner: Joiner::new(workers as usize),
            outgoing: Outgoing::new(&order.run_id, slot, order.epoch, order.keep_all),
            throttling: Throttling::default(),
            ready: 0,
            ends: Vec::new(),
            kept: Vec::new(),
            kept_left_out: 0,
            start_ns: None,
        })
    }

    /// Load begins at `start_ns` on this machine's clock, within the lease.
    pub fn go(&mut self, start_ns: u64, lease: Lease) {
        self.start_ns = Some(start_ns);
        self.throttling.since_last_us();
        self.renew_lease(lease);
        self.orders.send_modify(|orders| orders.start_ns = Some(start_ns));
    }

    /// All workers stand ready.
    pub fn is_armed(&self) -> bool {
        self.ready == self.threads.len()
    }

    pub fn is_started(&self) -> bool {
        self.start_ns.is_some()
    }

    /// Takes a lost agent's share over; the offset from which it is sent here.
    /// `None`: there is no load any more that it could join.
    pub fn adopt(&mut self, order: &proto::Adopt) -> Option<u64> {
        let start_ns = self.start_ns.filter(|_| self.ends.is_empty())?;
        let known = self.orders.borrow().adoptions.get(order.number.checked_sub(1)? as usize).map(|one| one.from_ns);
        if known.is_some() || order.number as usize != self.orders.borrow().adoptions.len() + 1 {
            return known;
        }
        let soonest_ns = (now_ns() + ADOPT_AHEAD.as_nanos() as u64).saturating_sub(start_ns);
        let from_ns = order.from_ns.max(soonest_ns);
        match Adoption::read(order, &self.prepared.plan, self.prepared.seed, from_ns) {
            Ok(adoption) => {
                self.orders.send_modify(|orders| orders.adoptions.push(Arc::new(adoption)));
                tracing::info!(run = self.run_id, from_s = from_ns as f64 / 1e9, "takes a lost agent's share over");
                Some(from_ns)
            }
            Err(error) => {
                tracing::error!(run = self.run_id, error, "a share to take over cannot be read");
                None
            }
        }
    }

    pub fn renew_lease(&self, lease: Lease) {
        self.prepared.lease_until_ns.store(lease.until_ns(), Ordering::Relaxed);
    }

    /// The first stop may drain; one that says `now` cuts off.
    pub fn stop(&mut self, kind: StopKind) {
        self.orders.send_modify(|orders| {
            if orders.stop != Some(StopKind::Now) {
                orders.stop = Some(kind);
            }
        });
    }

    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Everything is told and stored.
    pub fn is_told(&self) -> bool {
        self.outgoing.is_told()
    }

    /// Whether [`Run::tell`] has something.
    pub fn has_to_tell(&self) -> bool {
        self.outgoing.has_to_tell()
    }

    pub fn is_over(&self) -> bool {
        self.outgoing.is_over()
    }

    pub fn tell(&mut self) -> Option<Result<Telling, SpoolBroken>> {
        self.outgoing.tell()
    }

    pub fn drain(&self) -> Duration {
        self.prepared.plan.drain
    }

    /// The next thing to say. Cancel safe: nothing is taken before it is returned.
    pub async fn next(&mut self) -> RunSays {
        loop {
            let Some((worker, message)) = self.from_workers.recv().await else {
                // Every thread has ended and has been heard.
                return std::future::pending().await;
            };
            match message {
                FromWorker::Ready => {
                    self.ready += 1;
                    if self.ready == self.threads.len() {
                        return RunSays::Armed;
                    }
                }
                FromWorker::Interval(snapshot) => {
                    self.joiner.push(worker as usize, snapshot);
                    self.take_intervals();
                    if self.outgoing.has_snapshot() {
                        return RunSays::More;
                    }
                }
                FromWorker::Kept(kept) => self.take_kept(kept),
                FromWorker::Done(end) => {
                    self.ends.push(end);
                    self.joiner.finish(worker as usize);
                    self.take_intervals();
                    if self.joiner.all_done() {
                        let totals = self.totals();
                        self.outgoing.finish(|uplink| numbered(totals, uplink));
                    }
                    return RunSays::More;
                }
                FromWorker::Failed(reason) => return RunSays::Failed(reason),
            }
        }
    }

    /// Every worker's come before its last interval, and so before the agent's last.
    fn take_kept(&mut self, kept: KeptErrors) {
        self.kept.push(kept);
        if self.kept.len() < self.threads.len() {
            return;
        }
        let merged = self.kept.drain(..).reduce(|mut all, one| {
            all.merge(one);
            all
        });
        let (samples, left_out) = merged.map(KeptErrors::into_samples).unwrap_or_default();
        self.kept_left_out = left_out;
        self.outgoing.attach(samples.iter().map(write_error).collect());
    }

    fn take_intervals(&mut self) {
        while let Some(mut snapshot) = self.joiner.pop() {
            snapshot.health.resident_bytes = resident_bytes();
            let tokens = self.prepared.tokens.take_counts();
            snapshot.health.tokens_fetched = tokens.fetched;
            snapshot.health.tokens_failed = tokens.failed;
            snapshot.health.token_fetch_us = tokens.took_us;
            snapshot.health.cgroup_throttled_us = self.throttling.since_last_us();
            // The cgroup adds up what each of its CPUs stood still.
            let available_us = snapshot.health.wall_us * u64::from(snapshot.health.workers);
            let throttled = snapshot.health.cgroup_throttled_us as f64 / available_us.max(1) as f64;
            if throttled > 0.2 && snapshot.health.generator_limited.is_none() {
                let share = (throttled * 100.0).round();
                snapshot.health.generator_limited = Some(format!("its cgroup throttled it for {share} % of the time"));
            }
            self.outgoing.take(snapshot);
        }
    }

    /// But for what the snapshots' numbers say: [`numbered`].
    fn totals(&self) -> proto::Finished {
        let totals = self.ends.iter().fold(Ledger::default(), |mut sum, end| {
            sum += end.totals;
            sum
        });
        let first_sent_ns = self.ends.iter().filter_map(|end| end.first_sent_ns).min();
        let skew_ns = first_sent_ns.zip(self.start_ns).map_or(0, |(first, start)| first as i64 - start as i64);
        let ended_by = if self.ends.iter().any(|end| end.lease_ended) {
            "lease"
        } else if self.orders.borrow().stop.is_some() {
            "stopped"
        } else {
            "schedule"
        };
        let mut warnings: Vec<String> = self.ends.iter().flat_map(|end| end.errors.iter().cloned()).collect();
        if self.kept_left_out > 0 {
            let left_out = self.kept_left_out;
            warnings.push(format!("{left_out} error samples are not in errors.jsonl: together they are too large"));
        }
        warnings.sort();
        warnings.dedup();
        proto::Finished {
            run_id: self.run_id.clone(),
            epoch: self.epoch,
            last_sequence: 0,
            planned: totals.planned,
            sent: totals.sent,
            skipped: totals.skipped,
            completed: totals.completed,
            failed: totals.failed,
            cut_off: totals.cut_off,
            first_send_skew_ns: skew_ns,
            ended_by: ended_by.to_owned(),
            warnings,
        }
    }

    /// Cuts everything off and waits for the threads.
    pub async fn abandon(mut self) {
        self.stop(StopKind::Now);
        self.refreshes.abort_all();
        // Threads end on their own once told to; what they still say is not needed.
        while self.from_workers.recv().await.is_some() {}
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

/// The totals, with what became of the snapshots that they speak of.
fn numbered(mut totals: proto::Finished, uplink: &Uplink) -> proto::Finished {
    totals.last_sequence = uplink.last_sequence();
    let joined = uplink.joined_intervals();
    if joined > 0 {
        totals.warnings.push(format!(
            "{joined} seconds were joined with their neighbours while the controller took nothing: \
             every request is counted, some in a longer interval"
        ));
    }
    tracing::info!(run = totals.run_id, sent = totals.sent, "load ended");
    totals
}
