//! `squall-agent`: flags, signals, exit code.

use clap::Parser;
use squall_agent::cli::{Cli, ExitCode};
use squall_agent::{AgentEnd, AgentOptions};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use tracing_subscriber::EnvFilter;

/// Pauses between attempts to reach the controller: short at first, then this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { exit(ExitCode::BadConfiguration) } else { std::process::ExitCode::SUCCESS };
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => exit(runtime.block_on(serve(cli))),
        Err(error) => {
            tracing::error!(%error, "the control thread cannot start");
            std::process::ExitCode::FAILURE
        }
    }
}

fn exit(code: ExitCode) -> std::process::ExitCode {
    std::process::ExitCode::from(code as u8)
}

async fn serve(cli: Cli) -> ExitCode {
    let (ask, shutdown) = watch::channel(false);
    tokio::spawn(ask_on_signal(ask));
    let options = AgentOptions {
        region: cli.region,
        slot: cli.slot,
        workers: cli.workers,
        sample_log: cli.sample_log,
        guard: cli.guard.guard(),
    };
    let endpoint = Endpoint::from(cli.controller.clone())
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .tcp_nodelay(true);
    let mut reached = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        let end = session(&endpoint, options.clone(), shutdown.clone()).await;
        if let Some(code) = ExitCode::of(&end) {
            match &end {
                AgentEnd::Refused(reason) | AgentEnd::Incompatible(reason) => tracing::error!(reason, "refused"),
                _ => {}
            }
            return code;
        }
        let AgentEnd::Lost { why, was_welcome } = end else { continue };
        if *shutdown.borrow() {
            return ExitCode::Drained;
        }
        if was_welcome {
            (reached, pause) = (Instant::now(), Duration::from_millis(200));
        }
        if cli.give_up_after.is_some_and(|limit| reached.elapsed() >= Duration::from_secs(limit)) {
            tracing::error!(controller = %cli.controller, why, "giving up; is `squall serve` running there?");
            return ExitCode::Unreachable;
        }
        tracing::warn!(controller = %cli.controller, why, again_in_ms = pause.as_millis(), "no session with the controller");
        let mut asked = shutdown.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = asked.wait_for(|asked| *asked) => return ExitCode::Drained,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn session(endpoint: &Endpoint, options: AgentOptions, shutdown: watch::Receiver<bool>) -> AgentEnd {
    let channel: Channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => return AgentEnd::Lost { why: with_causes(&error), was_welcome: false },
    };
    squall_agent::run(channel, options, shutdown).await
}

/// The innermost cause says what happened; the outer ones only where.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

async fn ask_on_signal(ask: watch::Sender<bool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = ask.send(true);
}
