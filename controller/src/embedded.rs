//! A whole cluster in this process: the controller and its agents, speaking
//! the protocol they would speak over a network.

use crate::fleet::{Controller, Options};
use crate::in_process::{Dialer, InProcess};
use crate::store::{Store, StoreError};
use squall_agent::busy_poll::BusyPoll;
use squall_agent::guard::Guard;
use squall_agent::{Agent, AgentEnd, AgentOptions};
use squall_common::plan::Region;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Released agents end within this, or are cut off.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

fn lost(why: String) -> AgentEnd {
    AgentEnd::Lost { why, was_welcome: false }
}

/// Sessions until the agent is not needed any more: a machine that slept breaks them.
async fn serve(dialer: Dialer, options: AgentOptions, shutdown: watch::Receiver<bool>) -> AgentEnd {
    let mut agent = Agent::new(options);
    loop {
        let end = agent.session(dialer.channel(), shutdown.clone()).await;
        if !matches!(end, AgentEnd::Lost { was_welcome: true, .. } | AgentEnd::Silent { .. }) {
            agent.end().await;
            return end;
        }
    }
}

/// Runs one agent's session on a thread of its own, as its own process would:
/// neither the controller nor another agent can hold it up.
fn agent_thread(dialer: Dialer, options: AgentOptions, shutdown: watch::Receiver<bool>) -> oneshot::Receiver<AgentEnd> {
    let (end, ended) = oneshot::channel();
    let session = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(serve(dialer, options, shutdown)),
            Err(error) => lost(format!("its runtime cannot start: {error}")),
        };
        // Nobody waits for an agent whose cluster was dropped.
        let _ = end.send(ended);
    };
    // A thread that cannot be made drops its end of the channel, which says so.
    if let Err(error) = std::thread::Builder::new().name("agent".to_owned()).spawn(session) {
        tracing::error!(%error, "an agent's thread cannot start");
    }
    ended
}

/// A controller and its agents.
pub struct Embedded {
    controller: Controller,
    transport: InProcess,
    agents: JoinSet<AgentEnd>,
    shutdown: watch::Sender<bool>,
}

impl Embedded {
    /// Starts a controller without agents.
    pub fn start(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let controller = Controller::start(store, Options::embedded())?;
        let transport = InProcess::serve(&controller);
        Ok(Self { controller, transport, agents: JoinSet::new(), shutdown: watch::Sender::new(false) })
    }

    /// Starts one agent for each region given. `workers`: threads of each; `None`: all cores, shared.
    /// `sample_log`: where sample logs go when a plan asks for them.
    /// `guard`: what plans may do there.
    pub fn add_agents(&mut self, regions: &[Region], workers: Option<u32>, sample_log: Option<&Path>, guard: &Guard) {
        for (number, region) in (1..).zip(regions) {
            let slot = Some(format!("{}-{number}", region.as_str().replace('/', "-")));
            let sample_log = sample_log.map(Path::to_owned);
            let options = AgentOptions {
                region: region.clone(),
                slot,
                workers,
                sample_log,
                busy_poll: BusyPoll::Auto,
                guard: guard.clone(),
            };
            let ended = agent_thread(self.transport.dialer(), options, self.shutdown.subscribe());
            self.agents.spawn(async move { ended.await.unwrap_or_else(|_| lost("its thread failed".to_owned())) });
        }
    }

    /// For the operator's client.
    pub fn channel(&self) -> Channel {
        self.transport.channel()
    }

    /// Why an agent ended while it was still needed, once one has.
    pub async fn agent_ended(&mut self) -> String {
        match self.agents.join_next().await {
            Some(Ok(
                AgentEnd::Refused(why)
                | AgentEnd::Incompatible(why)
                | AgentEnd::Lost { why, .. }
                | AgentEnd::Silent { why },
            )) => why,
            Some(Ok(AgentEnd::Released | AgentEnd::Drained | AgentEnd::NotLeader(_))) => {
                "an agent ended before the run did".to_owned()
            }
            Some(Err(panic)) => format!("an agent failed: {panic}"),
            // No agents: nothing to end.
            None => std::future::pending().await,
        }
    }

    /// Releases the agents and waits for them, within bounds.
    pub async fn stop(mut self) {
        self.controller.release_agents("the run is over");
        let all_ended = async { while self.agents.join_next().await.is_some() {} };
        if tokio::time::timeout(RELEASE_WITHIN, all_ended).await.is_err() {
            self.shutdown.send_replace(true);
            tracing::warn!(still_running = self.agents.len(), "agents did not end when released");
        }
    }
}
