//! Alone, or one of several controllers that share etcd.

use super::failure::Failure;
use crate::fleet::{Controller, Options};
use crate::seat::Seat;
use crate::store::Store;
use std::sync::Arc;

#[cfg(feature = "etcd")]
use super::output::note;
#[cfg(feature = "etcd")]
use crate::etcd::{EtcdArgs, Stand};

/// Flags of `squall serve` for several controllers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Several controllers")]
pub struct LeadingArgs {
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    etcd: EtcdArgs,
    /// Where agents and operators reach this controller, for the other controllers
    /// to name [default: the address of --listen]
    #[cfg(feature = "etcd")]
    #[arg(long, value_name = "URL", requires = "endpoints")]
    advertise: Option<String>,
}

/// What a controller's process is to its fleet; cheap to clone.
#[derive(Clone)]
pub enum Leading {
    Alone(Controller),
    #[cfg(feature = "etcd")]
    OfSeveral {
        seat: Seat,
        stand: Arc<tokio::sync::Mutex<Option<Stand>>>,
    },
}

impl Leading {
    /// Begins to lead, or to stand for it. `listening` is the URL of --listen.
    pub async fn begin(
        args: LeadingArgs,
        listening: &str,
        store: Arc<dyn Store>,
        options: Options,
    ) -> Result<Self, Failure> {
        #[cfg(feature = "etcd")]
        if let Some(etcd) = checked(args, listening)? {
            let (fleet, servers, own) = (etcd.fleet.clone(), etcd.endpoints.join(", "), etcd.address.clone());
            let begun = Stand::begin(etcd, store, options.of_several()).await;
            let stand = begun.map_err(|error| Failure::internal(error.to_string()))?;
            note(&format!("one of the controllers of fleet `{fleet}` in etcd at {servers}; the others name it {own}"));
            return Ok(Self::OfSeveral { seat: stand.seat(), stand: Arc::new(tokio::sync::Mutex::new(Some(stand))) });
        }
        #[cfg(not(feature = "etcd"))]
        let (_, _) = (args, listening);
        let controller = Controller::start(store, options).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Self::Alone(controller))
    }

    pub fn seat(&self) -> Seat {
        match self {
            Self::Alone(controller) => controller.into(),
            #[cfg(feature = "etcd")]
            Self::OfSeveral { seat, .. } => seat.clone(),
        }
    }

    /// Asks live runs to stop, where nobody else would go on with them.
    pub fn stop_runs(&self) {
        match self {
            Self::Alone(controller) => controller.stop_runs(false, "the controller was stopped"),
            #[cfg(feature = "etcd")]
            Self::OfSeveral { .. } => {}
        }
    }

    pub fn live_runs(&self) -> usize {
        match self {
            Self::Alone(controller) => controller.live_runs(),
            #[cfg(feature = "etcd")]
            Self::OfSeveral { .. } => 0,
        }
    }

    /// Leaves everything to another controller, where there may be one.
    pub async fn is_handed_over(&self) -> bool {
        match self {
            Self::Alone(_) => false,
            #[cfg(feature = "etcd")]
            Self::OfSeveral { stand, .. } => {
                if let Some(stand) = stand.lock().await.take() {
                    match stand.resign().await {
                        0 => {}
                        runs => note(&format!("left to the next controller: {runs} live run(s)")),
                    }
                }
                true
            }
        }
    }
}

#[cfg(feature = "etcd")]
fn checked(args: LeadingArgs, listening: &str) -> Result<Option<crate::etcd::Options>, Failure> {
    let is_anywhere = listening.contains("://0.0.0.0:") || listening.contains("://[::]:");
    let is_named = args.advertise.is_some();
    let address = args.advertise.unwrap_or_else(|| listening.to_owned());
    let options = args.etcd.checked(&address).map_err(|problems| Failure::usage(problems.join("\n")))?;
    if options.is_none() {
        return Ok(None);
    }
    if is_anywhere && !is_named {
        return Err(Failure::usage(format!(
            "{listening} is no address to reach this controller at: name one with --advertise URL, e.g. \
             --advertise {}://controller-1.example.com:7700",
            listening.split("://").next().unwrap_or("https")
        )));
    }
    let is_url = address.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some() && uri.scheme().is_some());
    if !is_url {
        return Err(Failure::usage(format!("--advertise {address}: write a URL, e.g. https://controller-1:7700")));
    }
    Ok(options)
}
