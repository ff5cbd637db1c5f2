//! `squall-agent`: flags, signals, exit code.

use clap::Parser;
use squall_agent::cli::{Cli, ExitCode};
use squall_agent::dial;
use squall_agent::dialling::Dialling;
use squall_agent::tls_files::TlsFiles;
use squall_agent::{Agent, AgentEnd, AgentOptions};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::transport::{Endpoint, Uri};
use tracing_subscriber::EnvFilter;

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
        // A log that cannot be written is not told of in the same place: that panics.
        .log_internal_errors(false)
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
        busy_poll: cli.busy_poll,
        guard: cli.guard.guard(),
    };
    // Files that are wrong from the beginning are not waited for.
    let needs_tls = cli.controller.iter().any(|uri| uri.scheme_str() == Some("https"));
    if let Some(problem) = needs_tls.then(|| cli.tls.client_config().err()).flatten() {
        tracing::error!(%problem, "certificates cannot be used");
        return ExitCode::BadConfiguration;
    }
    let mut agent = Agent::new(options);
    let mut dialling = Dialling::new(cli.controller);
    let give_up_after = cli.give_up_after.map(Duration::from_secs);
    let code = serve_until_end(&mut agent, &mut dialling, &cli.tls, give_up_after, shutdown).await;
    agent.end().await;
    code
}

async fn serve_until_end(
    agent: &mut Agent,
    dialling: &mut Dialling,
    tls: &TlsFiles,
    give_up_after: Option<Duration>,
    shutdown: watch::Receiver<bool>,
) -> ExitCode {
    loop {
        let end = session(agent, &dialling.next_controller(), tls, shutdown.clone()).await;
        if let Some(code) = ExitCode::of(&end) {
            if let AgentEnd::Refused(reason) | AgentEnd::Incompatible(reason) = &end {
                tracing::error!(reason, "refused");
            }
            return code;
        }
        if *shutdown.borrow() {
            agent.begin_leaving().await;
            if !agent.must_stay() {
                return ExitCode::Drained;
            }
        }
        let controller = dialling.current();
        let (why, was_welcome) = match end {
            AgentEnd::NotLeader(Some(leader)) if dialling.go_to(&leader) => continue,
            AgentEnd::Silent { why } => {
                dialling.turn();
                (why, true)
            }
            AgentEnd::Lost { why, was_welcome } => (why, was_welcome),
            _ => ("the controller there does not lead".to_owned(), false),
        };
        let pause = dialling.pause_after(was_welcome);
        if give_up_after.is_some_and(|limit| dialling.unreached_for() >= limit) {
            tracing::error!(%controller, why, "giving up; is `squall serve` running there?");
            return ExitCode::Unreachable;
        }
        tracing::warn!(%controller, why, again_in_ms = pause.as_millis(), "no session with the controller");
        let mut asked = shutdown.clone();
        let was_asked = *asked.borrow();
        agent
            .meanwhile(async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = asked.wait_for(|asked| *asked), if !was_asked => {}
                }
            })
            .await;
    }
}

async fn session(agent: &mut Agent, controller: &Uri, tls: &TlsFiles, shutdown: watch::Receiver<bool>) -> AgentEnd {
    let tune = |endpoint: Endpoint| {
        endpoint
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
    };
    // The run, if there is one, goes on while we dial.
    match agent.meanwhile(dial::connect(controller, tls, tune)).await {
        Ok((channel, refusal)) => match agent.session(channel, shutdown).await {
            AgentEnd::Lost { why, was_welcome } => AgentEnd::Lost { why: refusal.why().unwrap_or(why), was_welcome },
            end => end,
        },
        Err(error) => AgentEnd::Lost { why: dial::why(&error), was_welcome: false },
    }
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
