//! `squall serve`: a controller that agents and operators dial.

use super::door::{Door, DoorArgs};
use super::failure::{self, Ended, Failure};
use super::output::note;
use crate::cli::leading::{Leading, LeadingArgs};
use crate::fleet::Options;
use crate::identity::accept;
use crate::identity::audit::{self, Audit};
use crate::identity::gate::Gate;
use crate::identity::transport::Transport;
use crate::service;
use crate::store::{EmbeddedStore, Store, StoreError};
use squall_common::allow::{AllowList, Pattern};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Live runs have this long to end once the controller is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// etcd has this long to hear that another controller may lead.
const RESIGN_WITHIN: Duration = Duration::from_secs(10);

/// Serves a controller for agents on other machines
///
/// Ctrl-C stops live runs gracefully, then the controller; a second one ends it
/// at once. One of several controllers (--etcd) leaves its runs to the next instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall serve
  squall serve --listen 0.0.0.0:7700 --tls-cert squall-certs/controller.pem \\
    --tls-key squall-certs/controller.key --tls-ca squall-certs/ca.pem
  squall serve --etcd http://10.0.0.1:2379,http://10.0.0.2:2379 --advertise http://10.0.0.5:7700")]
pub struct Args {
    /// Address and port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7700", value_parser = address)]
    listen: SocketAddr,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "./squall-data")]
    data: PathBuf,
    #[command(flatten)]
    door: DoorArgs,
    /// A target that plans may aim at (repeatable): api.example.com,
    /// *.example.com, 10.0.0.0/8, each with an optional :PORT. Agents have lists
    /// of their own; a plan must pass both [default: any]
    #[arg(long = "allow-target", value_name = "PATTERN", value_delimiter = ',')]
    allow_targets: Vec<Pattern>,
    #[command(flatten)]
    leading: LeadingArgs,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an address and a port, e.g. 127.0.0.1:7700".to_owned())
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let door = Door::of(args.listen, &args.door).map_err(Failure::usage)?;
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Failure::usage(format!(
            "{} is in use: a controller may be running there; --listen names another port",
            args.listen
        )),
        _ => Failure::usage(format!("cannot listen on {}: {error}", args.listen)),
    })?;
    let address = listener.local_addr().map_err(|error| Failure::internal(error.to_string()))?;
    std::fs::create_dir_all(&args.data).map_err(|error| {
        let why = failure::in_words(&error);
        Failure::usage(format!("cannot create {}: {why}; --data names another directory", args.data.display()))
    })?;
    let store = EmbeddedStore::open(&args.data.join("squall.redb")).map_err(|error| match error {
        StoreError::Full(_) => Failure::internal(error.to_string()),
        _ => Failure::usage(error.to_string()),
    })?;
    let audit_file = args.data.join(audit::FILE);
    let audit = Audit::open(audit_file.clone()).map_err(|error| {
        Failure::usage(format!("cannot write {}: {}", audit_file.display(), failure::in_words(&error)))
    })?;
    let scheme = if door.transport == Transport::MutualTls { "https" } else { "http" };
    let mut options = Options { transport: door.transport, ..Options::default() };
    if !args.allow_targets.is_empty() {
        options.allow = AllowList::of(args.allow_targets);
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let leading = Leading::begin(args.leading, &format!("{scheme}://{address}"), store, options).await?;
    note(&format!(
        "controller on {scheme}://{address}, runs kept in {}\n\
         agents:  squall-agent --controller {scheme}://{address} --region cloud/region\n\
         runs:    squall run PLAN --controller {scheme}://{address}",
        args.data.display()
    ));
    if door.transport == Transport::Insecure {
        note("insecure: anyone who reaches this address can start load, and every result will say so");
    }
    let shutdown = stop_on_signal(leading.clone());
    let gate = Gate::new(door.trust, door.tokens, Some(audit));
    let connections = accept::connections(listener, door.certificates);
    let served = service::router(leading.seat(), gate).serve_with_incoming_shutdown(connections, shutdown);
    tokio::select! {
        served = served => served.map_err(|error| Failure::internal(format!("the controller failed: {error}")))?,
        // Open streams (agents, watchers) would keep a graceful end waiting for ever.
        () = after_stop(leading) => {}
    }
    Ok(failure::OK)
}

/// Ends when asked to by Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        },
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM");
            let _ = interrupted.await;
        }
    }
}

async fn stop_on_signal(leading: Leading) {
    asked_to_stop().await;
    // Before anything is closed: a process that ends now would leave its lease to run out.
    tokio::select! {
        _ = leading.is_handed_over() => {}
        () = tokio::time::sleep(RESIGN_WITHIN) => {}
    }
    leading.stop_runs();
}

/// Ends once every run has, after the signal.
async fn after_stop(leading: Leading) {
    asked_to_stop().await;
    let handed_over = tokio::select! {
        handed_over = leading.is_handed_over() => handed_over,
        () = asked_to_stop() => true,
    };
    if handed_over {
        return;
    }
    if leading.live_runs() > 0 {
        note("stopping live runs (again: stop now)");
    }
    let ended = async {
        while leading.live_runs() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(STOP_WITHIN, ended) => {
            if ended.is_err() {
                tracing::warn!("runs did not end in time; they will be shown as interrupted");
            }
        }
        () = asked_to_stop() => {}
    }
}
