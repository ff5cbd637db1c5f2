//! The flags that change a plan, and the plan they make: from a file, or from a URL.

use super::failure::{self, Failure};
use crate::plan_source;
use bytes::Bytes;
use clap::Args;
use squall_common::plan::file::QuickPlan;
use squall_common::plan::{Plan, Region};
use squall_proto::PlanBundle;
use std::path::Path;

/// Flags that every plan takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Where requests go; replaces the plan's host
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Sets one value of the plan, e.g. load.rate=50/s (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub sets: Vec<(String, String)>,
    /// Other random values and Poisson arrivals
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,
    /// How long requests in flight may take after the last phase, e.g. 10s
    #[arg(long, value_name = "TIME")]
    pub drain: Option<String>,
}

/// Flags of a plan without a file.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Without a plan file (PLAN is a URL)")]
pub struct Quick {
    /// Users that loop; with --rate, the same as --max-in-flight
    #[arg(long, value_name = "N")]
    pub users: Option<String>,
    /// Requests per time, open model, e.g. 100/s
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// How long, e.g. 30s
    #[arg(long = "for", value_name = "TIME")]
    pub duration: Option<String>,
    /// The level rises from 0 over this time
    #[arg(long, value_name = "TIME")]
    pub ramp_up: Option<String>,
    /// Requests altogether
    #[arg(long, value_name = "N")]
    pub requests: Option<String>,
    /// With --rate: the most requests in flight
    #[arg(long, value_name = "N", requires = "rate", conflicts_with = "users")]
    pub max_in_flight: Option<String>,
    /// The HTTP method
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// A header, `Name: value` (repeatable)
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The body, or @FILE that holds it
    #[arg(short = 'd', long, value_name = "TEXT|@FILE")]
    pub data: Option<String>,
    /// From the start of a request to its last byte, e.g. 5s
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Do not verify the target's certificate; the result shows it
    #[arg(long)]
    pub insecure: bool,
    /// HTTP/2: agreed by ALPN on https, without asking on http
    #[arg(long)]
    pub http2: bool,
    /// What must hold, e.g. 'p99(response_time) < 250ms' (repeatable)
    #[arg(long = "slo", value_name = "LINE")]
    pub slos: Vec<String>,
}

impl Quick {
    fn is_used(&self) -> bool {
        let options = [
            &self.users,
            &self.rate,
            &self.duration,
            &self.ramp_up,
            &self.requests,
            &self.max_in_flight,
            &self.method,
            &self.data,
            &self.timeout,
        ];
        let switches = self.insecure || self.http2;
        switches || options.iter().any(|option| option.is_some()) || !self.headers.is_empty() || !self.slos.is_empty()
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number, e.g. 7".to_owned())
}

/// Region names, as flags take them.
pub fn region(text: &str) -> Result<Region, String> {
    Region::new(text).map_err(|invalid| invalid.to_string())
}

impl Overrides {
    fn list(&self) -> Vec<(String, String)> {
        let own = [
            ("target", self.target.clone()),
            ("seed", self.seed.map(|seed| seed.to_string())),
            ("drain", self.drain.clone()),
        ];
        let own = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        own.chain(self.sets.iter().cloned()).collect()
    }
}

/// What to write in place of something that is neither a file nor yet a URL.
fn almost_a_url(plan: &str) -> Option<String> {
    if Path::new(plan).exists() {
        return None;
    }
    if let Some((scheme, rest)) = plan.split_once("://") {
        return Some(format!("`{plan}`: cannot send load to {scheme}; write http://{rest} or https://{rest}"));
    }
    let (host, port) = plan.split('/').next()?.rsplit_once(':')?;
    let is_address = !host.is_empty() && port.parse::<u16>().is_ok();
    is_address.then(|| format!("there is no file {plan}; if it is a URL, write http://{plan}"))
}

/// The bundle that the command line means.
pub fn bundle(plan: &str, overrides: &Overrides, quick: &Quick) -> Result<PlanBundle, Failure> {
    let is_url = plan.starts_with("http://") || plan.starts_with("https://");
    if !is_url {
        if let Some(advice) = almost_a_url(plan) {
            return Err(Failure::usage(advice));
        }
        if quick.is_used() {
            return Err(Failure::usage(format!(
                "`{plan}` is a plan file: flags like --users and --rate go with a URL; change a plan with --set"
            )));
        }
        return plan_source::bundle_file(Path::new(plan), overrides.list()).map_err(Failure::usage);
    }
    for header in &quick.headers {
        if !header.contains(':') {
            return Err(Failure::usage(format!("-H '{header}' has no value: write -H 'Name: value'")));
        }
    }
    let mut quick = quick.clone();
    // In a plan with a rate, users are the most in flight.
    quick.users = quick.users.or(quick.max_in_flight.take());
    let plan = QuickPlan {
        url: plan.to_owned(),
        users: quick.users,
        rate: quick.rate,
        duration: quick.duration,
        ramp_up: quick.ramp_up,
        requests: quick.requests,
        method: quick.method,
        headers: quick.headers,
        data: quick.data.as_deref().map(data).transpose()?,
        timeout: quick.timeout,
        seed: None,
        insecure: quick.insecure,
        http2: quick.http2,
        slos: quick.slos,
        overrides: overrides.list(),
    };
    // Problems of flags name the flag only here; the bundle is made from what passed.
    plan.load().map_err(|problems| Failure::usage(problems.to_string()))?;
    Ok(plan_source::bundle_source(plan.source()))
}

fn data(text: &str) -> Result<Bytes, Failure> {
    match text.strip_prefix('@') {
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(file) => std::fs::read(file).map(Bytes::from).map_err(|error| {
            Failure::usage(format!("cannot read the body from {file}: {}", failure::in_words(&error)))
        }),
    }
}

/// The regions of an embedded fleet: as asked for, else those the plan's loads come from, else `local`.
pub fn agent_regions(plan: &Plan, agents: Option<u32>, regions: &[Region]) -> Result<Vec<Region>, Failure> {
    let mut named = regions.to_vec();
    if named.is_empty() {
        named = plan.loads.iter().flat_map(|load| &load.from).map(|(region, _)| region.clone()).collect();
        named.sort();
        named.dedup();
    }
    if named.is_empty() {
        named.push(Region::new("local").map_err(|invalid| Failure::internal(invalid.to_string()))?);
    }
    let count = agents.map_or(named.len(), |count| count as usize);
    Ok(named.iter().cycle().take(count).cloned().collect())
}
