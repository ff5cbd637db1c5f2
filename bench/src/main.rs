//! Squall beside its peers on one machine, and its figures against their limits.
//!
//! - [`nginx`]: the server; [`clients`]: who is compared; [`process`]: what a run costs
//! - [`measure`]: the measurements; [`snapshot`], [`start`], [`floor`]: some that need more
//! - [`table`]: what came of it
//!
//! A missing peer is named and left out; a missed limit is said and does not fail.

mod clients;
mod floor;
mod measure;
mod nginx;
mod process;
mod snapshot;
mod start;
mod streams;
mod table;

use clap::{Parser, ValueEnum};
use clients::{Client, Kind};
use measure::Bench;
use nginx::Nginx;
use process::{SERVER_CORE, core_count, load_average, processor};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use table::Results;

/// A load average from which on others disturb the measurements.
const BUSY: f64 = 0.5;

/// Measures squall beside wrk, oha and others, and holds it to its limits.
#[derive(Debug, Parser)]
#[command(name = "squall-bench", version, max_term_width = 80)]
struct Args {
    /// Rounds of each client; they alternate
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of a round
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(3..=600))]
    seconds: u64,
    /// Measure only this (repeatable)
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Also hold memory at 10 s against 60 s of constant load
    #[arg(long)]
    soak: bool,
    /// The `squall` binary [default: beside this one]
    #[arg(long, value_name = "FILE")]
    squall: Option<PathBuf>,
    /// Where peers were installed with `cargo install --root`
    #[arg(long, value_name = "DIR", default_value = "target/bench-tools")]
    tools: PathBuf,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Closed,
    Open,
    Memory,
    Snapshot,
    Start,
    Streams,
}

impl Args {
    fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn squall(&self) -> io::Result<Client> {
        let beside = || Ok::<_, io::Error>(std::env::current_exe()?.with_file_name("squall"));
        let program = self.squall.clone().map_or_else(beside, Ok)?;
        if !program.is_file() {
            let (shown, how) = (program.display(), Kind::Squall.install());
            return Err(io::Error::other(format!("there is no {shown}: {how}")));
        }
        Ok(Client::at(Kind::Squall, program))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(results) if args.json => match serde_json::to_string_pretty(&results) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        },
        Ok(results) => print!("{}", results.render()),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(args: &Args) -> io::Result<Results> {
    let squall = args.squall()?;
    let cores = core_count();
    let client_core = if cores > 1 { SERVER_CORE + 1 } else { SERVER_CORE };
    let found: Vec<(Kind, Option<Client>)> =
        Kind::PEERS.into_iter().map(|kind| (kind, kind.find(&args.tools))).collect();
    let missing = found.iter().filter(|(_, client)| client.is_none());
    let mut results = Results {
        machine: format!("{}, {cores} cores", processor()),
        rounds: args.rounds,
        seconds: args.seconds,
        missing: missing.map(|(kind, _)| format!("{} ({})", kind.name(), kind.install())).collect(),
        ..Results::default()
    };
    // Two processes of ours run at a time; what runs beside them makes all clients late.
    let busy = load_average().filter(|&load| load > BUSY);
    let python = args.tools.join("python/bin/python");
    let python = python.is_file().then_some(python);
    if python.is_none() {
        results.missing.push("httpx in Python (make need-bench)".to_owned());
    }
    let busy = busy.map(|load| {
        format!("the machine was busy before this began (load {load:.1}): lateness is not the clients' alone")
    });
    let Some(nginx) = Nginx::start(SERVER_CORE)? else {
        results.missing.push("nginx, the server of every measurement (apt install nginx-light)".to_owned());
        results.judge();
        return Ok(results);
    };
    results.server = format!("nginx {} on core {SERVER_CORE}, clients on core {client_core}", nginx.version());
    let peers = found.into_iter().filter_map(|(_, client)| client).collect();
    let (rounds, seconds) = (args.rounds, args.seconds);
    let mut bench = Bench { nginx, squall, peers, client_core, rounds, seconds, notes: busy.into_iter().collect() };
    if args.measures(Part::Closed) {
        tell("CPU per request");
        results.costs = bench.closed()?;
    }
    if args.measures(Part::Open) {
        tell("lateness at a constant rate");
        results.lateness = bench.open()?;
    }
    if args.measures(Part::Streams) {
        tell("what streams of tokens cost");
        let (squall, core) = (bench.squall.clone(), bench.client_core);
        results.streams =
            Some(streams::measure(&squall, python.as_deref(), core, (rounds, seconds.max(10)), &mut bench.notes)?);
    }
    if args.measures(Part::Snapshot) {
        tell("snapshot size");
        results.snapshot = bench.snapshot()?;
    }
    if args.measures(Part::Start) {
        tell("time to the first request");
        results.start_s = bench.start()?;
    }
    if args.measures(Part::Memory) {
        tell("memory per connection");
        results.memory = bench.memory()?;
    }
    if args.soak {
        tell("memory over a minute");
        results.soak = bench.soak()?;
    }
    results.notes = bench.notes;
    results.judge();
    Ok(results)
}

fn tell(what: &str) {
    eprintln!("measuring {what} …");
}
