//! PLACEHOLDER for `squall_agent::{run, AgentOptions, AgentEnd}`, to be replaced by them.

use squall_common::plan::Region;
use std::path::PathBuf;
use tokio::sync::watch;
use tonic::transport::Channel;

#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub region: Region,
    pub slot: Option<String>,
    pub workers: Option<u32>,
    pub sample_log: Option<PathBuf>,
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
    AgentEnd::Lost(format!("the agent is not built yet ({options:?})"))
}
