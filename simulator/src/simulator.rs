//! Starting and stopping the whole.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::config::{Config, ConfigError};
use crate::identity::Identity;
use crate::region::{Region, listen};
use crate::truth::Truth;
use crate::wait::Waiter;

/// A cloud that is being served. Stop it with [`Simulator::stop`]; dropped, it
/// stops without waiting.
pub struct Simulator {
    admin: Arc<Admin>,
    admin_address: SocketAddr,
    regions: Vec<RegionAddress>,
    deployments: Vec<String>,
    stop: watch::Sender<bool>,
    /// End when told to.
    servers: JoinSet<()>,
    /// Run as long as they are needed; ended last.
    helpers: JoinSet<()>,
}

/// Where a region is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionAddress {
    /// `cloud/region`.
    pub name: String,
    /// Its base URL, without a slash at the end.
    pub url: String,
}

/// Why the simulator could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration can't run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something else listens there, or the address is not ours.
    #[error("{name} can't listen on {address}: {cause}; write another port, or 0 for any free one")]
    Listen {
        /// The region, or `the admin server`.
        name: String,
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The system gave no timer.
    #[error("no precise timer: {0}")]
    Timer(#[source] io::Error),
}

impl Simulator {
    /// Opens every port, then serves them all on the current tokio runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let (waiter, driver) = Waiter::new().map_err(StartError::Timer)?;
        let mut listeners = Vec::new();
        for region in &config.regions {
            listeners.push(open(&region.name, SocketAddr::new(region.address, region.port))?);
        }
        let admin_address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.admin_port));
        let (admin_listener, admin_address) = open("the admin server", admin_address)?;

        let stop = watch::Sender::new(false);
        let (mut servers, mut helpers) = (JoinSet::new(), JoinSet::new());
        helpers.spawn(driver);
        let identity = config.identity.map(|identity| Arc::new(Identity::new(identity)));
        let mut regions = Vec::new();
        for (index, (region, (listener, address))) in config.regions.into_iter().zip(listeners).enumerate() {
            let seed = squall_common::random::mix(config.seed, &[index as u64]);
            let region = Region::new(region, address, seed, waiter.clone(), identity.clone());
            for deployment in &region.deployments {
                helpers.spawn(deployment.engine.clone().run(waiter.clone()));
            }
            servers.spawn(region.clone().serve(listener, stop.subscribe()));
            regions.push(region);
        }
        let addresses = regions.iter().map(|region| address_of(region)).collect();
        let deployments = deployments_of(&regions);
        let admin = Admin::new(regions, identity);
        servers.spawn(admin.clone().serve(admin_listener, stop.subscribe()));
        helpers.spawn(admin.clone().end_faults());
        Ok(Self { admin, admin_address, regions: addresses, deployments, stop, servers, helpers })
    }

    /// Where each region is served, as configured.
    pub fn regions(&self) -> Vec<RegionAddress> {
        self.regions.clone()
    }

    /// Base URL of the admin server.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_address)
    }

    /// What the service itself saw so far.
    pub fn truth(&self) -> Truth {
        self.admin.truth()
    }

    /// Closes listeners and connections, and returns when every task has ended.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.servers.join_next().await {
            if let Err(cause) = ended {
                tracing::error!(%cause, "a server failed");
            }
        }
        self.helpers.shutdown().await;
    }

    /// What to tell the user at the start, within 80 columns.
    pub fn banner(&self) -> String {
        let mut text = String::from("squall simulator\n\nregions\n");
        let width = self.regions.iter().map(|region| region.name.len()).max().unwrap_or(0).min(40);
        for region in &self.regions {
            let _ = writeln!(text, "  {:width$}  {}", region.name, region.url);
        }
        let _ = writeln!(text, "\nmodels (deployments: {})", shortened(&self.deployments));
        text.push_str(ENDPOINTS);
        let admin = self.admin_url();
        let _ = writeln!(text, "\nadmin {admin}");
        text.push_str(ADMIN_ENDPOINTS);
        text
    }
}

const ENDPOINTS: &str = "  POST /openai/deployments/{deployment}/…  /openai/v1/…  /v1/…
       chat/completions  completions  responses  embeddings

plain
  /  /fixed?ms=5&bytes=512&status=200  /uniform?min_ms=5&max_ms=15
  /lognormal?p50_ms=10&p99_ms=60       /exponential?mean_ms=10
  /status/{code}  /bytes/{n}?compress=1  /slow-body?bytes=10240&over_ms=1000
  /echo  /echo/json  /login  /items/{id}  POST /orders  POST /api/v1/order
  /redirect/{n}  /reset  /truncate
";

const ADMIN_ENDPOINTS: &str = "  GET /healthz  GET /admin/regions  GET /admin/truth  POST /admin/reset
  GET, POST, DELETE /admin/faults  POST /admin/identity[/revoke]
  POST /{tenant}/oauth2/v2.0/token  GET /{tenant}/discovery/v2.0/keys
";

fn shortened(names: &[String]) -> String {
    let all = names.join(", ");
    if all.len() <= 50 { all } else { format!("{} of them", names.len()) }
}

fn deployments_of(regions: &[Arc<Region>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for deployment in regions.iter().flat_map(|region| &region.deployments) {
        if !names.contains(&deployment.config.name) {
            names.push(deployment.config.name.clone());
        }
    }
    names
}

fn address_of(region: &Region) -> RegionAddress {
    RegionAddress { name: region.config.name.clone(), url: format!("http://{}", region.address) }
}

fn open(name: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |cause| StartError::Listen { name: name.to_owned(), address, cause };
    let listener = listen(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
