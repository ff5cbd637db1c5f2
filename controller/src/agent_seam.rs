//! PLACEHOLDER for `squall_agent::{run, AgentOptions, AgentEnd}`, to be deleted.

use squall_common::plan::Region;
use tokio::sync::watch;
use tonic::transport::Channel;

#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub region: Region,
    pub slot: Option<String>,
    pub workers: Option<usize>,
}

#[derive(Clone, Debug)]
#[allow(dead_code)]
pub enum AgentEnd {
    Released,
    Drained,
    Refused(String),
    Incompatible(String),
    Lost(String),
}

pub async fn run(_channel: Channel, options: AgentOptions, _shutdown: watch::Receiver<bool>) -> AgentEnd {
    AgentEnd::Lost(format!("the agent of {} ({:?}, {:?}) is not built yet", options.region, options.slot, options.workers))
}
