//! What people touch: one file a command.
//!
//! Data goes to stdout, words for people to stderr; every command ends with a
//! documented exit code (docs/exit-codes.md).

mod access;
mod agents;
mod certs;
mod check;
mod client;
mod door;
mod failure;
mod follow;
mod init;
mod leading;
mod output;
mod plan_args;
mod report;
mod results;
mod run;
mod runs;
mod schema;
mod serve;
mod simulate;
mod stop;
mod token;
mod watch;

use clap::{Parser, Subcommand};
use failure::{Ended, Failure};
use std::process::ExitCode;

/// Distributed load tests for HTTP APIs and LLM endpoints.
#[derive(Debug, Parser)]
#[command(
    name = "squall",
    version,
    max_term_width = 80,
    after_help = "\
Examples:
  squall run plan.yaml                          run it here, nothing else needed
  squall run http://localhost:8080/ --rate 100/s --for 10s
  squall init && squall check plan.yaml

Exit codes: 0 passed, 1 internal error, 2 bad usage or plan, 10 an SLO failed,
11 the result is invalid, 12 aborted. More: docs/exit-codes.md"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Check(check::Args),
    Serve(serve::Args),
    Agents(agents::Args),
    Runs(runs::Args),
    Watch(watch::Args),
    Stop(stop::Args),
    Report(report::Args),
    Simulate(simulate::Args),
    Init(init::Args),
    Schema(schema::Args),
    Certs(certs::Args),
    Token(token::Args),
}

/// Threads of commands: the load has threads of its own.
const THREADS: usize = 2;

/// The whole command, to its exit code.
pub fn main() -> ExitCode {
    // clap ends with 2 for bad usage and 0 for help, as documented.
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("SQUALL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(cli.command.log_level()));
    // A log that cannot be written (its disk is full) is not told of in the same place: that panics.
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    log.with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(cli.command.perform()),
        Err(error) => Err(Failure::internal(format!("cannot start: {error}"))),
    };
    failure::exit(ended)
}

impl Command {
    /// A server tells what happens; a command only what went wrong.
    fn log_level(&self) -> &'static str {
        if matches!(self, Self::Serve(_)) { "squall=info,squall_controller=info,warn" } else { "error" }
    }

    async fn perform(self) -> Ended {
        match self {
            Self::Run(args) => run::perform(*args).await,
            Self::Check(args) => check::perform(args),
            Self::Serve(args) => serve::perform(args).await,
            Self::Agents(args) => agents::perform(args).await,
            Self::Runs(args) => runs::perform(args).await,
            Self::Watch(args) => watch::perform(args).await,
            Self::Stop(args) => stop::perform(args).await,
            Self::Report(args) => report::perform(args).await,
            Self::Simulate(args) => simulate::perform(args).await,
            Self::Init(args) => init::perform(args),
            Self::Schema(args) => schema::perform(args),
            Self::Certs(args) => certs::perform(args),
            Self::Token(args) => token::perform(args),
        }
    }
}

#[cfg(test)]
mod tests;
