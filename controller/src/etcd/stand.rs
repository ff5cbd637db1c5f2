//! Standby or leader: a controller of its own for every term, and none between them.

use super::coordinator::Coordinator;
use super::error::EtcdError;
use super::fenced::FencedStore;
use super::handover;
use super::leadership::{Fence, Leadership};
use super::options;
use super::presence;
use super::term::Term;
use crate::events::unix_ms;
use crate::fleet::{Controller, Options};
use crate::mandate::Mandate;
use crate::seat::{Seat, Standing};
use crate::store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const AGAIN_AFTER: Duration = Duration::from_millis(500);
const RETAIN_EVERY: Duration = Duration::from_secs(3_600);
/// How long etcd keeps the plan and state of a run that has ended; the index of results stays.
const KEEP_RUNS: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A controller's part in a fleet of several.
pub struct Stand {
    coordinator: Coordinator,
    seat: Seat,
    task: JoinHandle<()>,
    ask: watch::Sender<bool>,
}

/// Why a term could not begin.
#[derive(Debug, thiserror::Error)]
enum NotBegun {
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Terms {
    coordinator: Coordinator,
    store: Arc<dyn Store>,
    options: Options,
    address: String,
    standing: watch::Sender<Standing>,
}

/// A term under way.
struct Current {
    controller: Controller,
    mandate: Arc<Mandate>,
    upkeep: JoinHandle<()>,
}

impl Stand {
    /// Stands for election until it is told to stop.
    pub async fn begin(
        options: options::Options,
        store: Arc<dyn Store>,
        controller: Options,
    ) -> Result<Self, EtcdError> {
        let address = options.address.clone();
        let coordinator = Coordinator::start(options).await?;
        let (standing, seen) = watch::channel(Standing::Follows { leader: None });
        let seat = Seat::new(store.clone(), seen);
        let terms = Terms { coordinator: coordinator.clone(), store, options: controller, address, standing };
        let (ask, asked) = watch::channel(false);
        Ok(Self { coordinator, seat, task: tokio::spawn(terms.go_on(asked)), ask })
    }

    pub fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// Leaves everything to another controller, at once. Gives how many runs were left.
    pub async fn resign(self) -> usize {
        let left = self.seat.controller().map_or(0, |controller| controller.live_runs());
        self.ask.send_replace(true);
        let _ = self.task.await;
        self.coordinator.resign().await;
        left
    }
}

impl Terms {
    async fn go_on(self, mut asked: watch::Receiver<bool>) {
        let mut leadership = self.coordinator.leadership();
        let mut current: Option<Current> = None;
        loop {
            let now = leadership.borrow_and_update().clone();
            let holds = current.as_ref().is_some_and(|current| current.mandate.holds());
            if !holds && let Some(over) = current.take() {
                tracing::warn!("leads no longer");
                over.upkeep.abort();
                self.standing.send_replace(Standing::Follows { leader: None });
                over.controller.step_down();
            }
            let mut again = false;
            match now {
                Leadership::Leader(fence) if current.is_none() => match self.take_over(fence).await {
                    Ok(begun) => current = Some(begun),
                    Err(error) => {
                        tracing::error!(%error, "cannot lead yet");
                        again = true;
                    }
                },
                Leadership::Leader(_) => {}
                Leadership::Standby { leader } => {
                    let leader = leader.filter(|leader| *leader != self.address);
                    self.standing.send_replace(Standing::Follows { leader });
                }
                Leadership::Lost => {
                    self.standing.send_replace(Standing::Follows { leader: None });
                }
            }
            let ended = async {
                match &current {
                    Some(current) => current.mandate.ended().await,
                    None if again => tokio::time::sleep(AGAIN_AFTER).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { break },
                () = ended => {}
                _ = asked.wait_for(|asked| *asked) => break,
            }
        }
        self.standing.send_replace(Standing::Follows { leader: None });
        if let Some(over) = current {
            over.upkeep.abort();
            over.controller.step_down();
        }
    }

    /// Begins a term: goes on with what the one before left.
    async fn take_over(&self, fence: Fence) -> Result<Current, NotBegun> {
        let term = Arc::new(self.coordinator.term(fence.clone()));
        let runs = term.take_over().await?;
        let coordinator = self.coordinator.clone();
        let mandate = Arc::new(Mandate::while_leading(move || coordinator.believes(&fence)));
        let fenced = FencedStore::new(
            self.store.clone(),
            term.clone(),
            mandate.clone(),
            Handle::current(),
            self.address.clone(),
        );
        let (store, options, right) = (self.store.clone(), self.options.clone(), mandate.clone());
        // Stores block.
        let begun = tokio::task::spawn_blocking(move || {
            for lost in handover::bring_runs(store.as_ref(), runs)? {
                fenced.update_run(&handover::ended_without_plan(lost))?;
            }
            Controller::start_under(right, Arc::new(fenced), options)
        });
        let controller = begun.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))?;
        let upkeep = upkeep(self.coordinator.clone(), term.clone(), self.store.clone(), self.address.clone());
        let watched = controller.clone();
        let upkeep = tokio::spawn(async move {
            // The fleet's changes end with the term, old runs never do.
            tokio::join!(upkeep, presence::vouch(&watched, &term));
        });
        let current = Current { controller: controller.clone(), mandate, upkeep };
        tracing::info!(runs = controller.live_runs(), "leads");
        self.standing.send_replace(Standing::Leads(controller));
        Ok(current)
    }
}

/// What a leader does beside its runs.
async fn upkeep(coordinator: Coordinator, term: Arc<Term>, store: Arc<dyn Store>, own: String) {
    match coordinator.results().await {
        Ok(results) => {
            let brought =
                tokio::task::spawn_blocking(move || handover::bring_results(store.as_ref(), &own, &results)).await;
            if let Ok(Err(error)) = brought {
                tracing::error!(%error, "results of other controllers cannot be listed");
            }
        }
        Err(error) => tracing::error!(%error, "results of other controllers cannot be listed"),
    }
    loop {
        tokio::time::sleep(RETAIN_EVERY).await;
        match term.retain(KEEP_RUNS, unix_ms()).await {
            Ok(removed) => {
                tracing::info!(runs = removed.runs.len(), targets = removed.freed.len(), "cleared from etcd")
            }
            Err(error) => tracing::warn!(%error, "old runs stay in etcd"),
        }
    }
}
