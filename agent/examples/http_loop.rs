//! A closed loop over the HTTP engine, to compare its hot path with other clients.
//!
//! `http_loop URL [CONNECTIONS] [SECONDS] [h1|h2]`: one worker, one user per
//! connection, each sends the next GET when the last is answered. Prints requests
//! per second, CPU time per request and resident memory.

use http::{Method, Uri};
use nix::sys::resource::{UsageWho, getrusage};
use squall_agent::clock::now_ns;
use squall_agent::http::{Request, Response, Span, TargetClient, TargetShared, Want};
use squall_common::plan::{ConnectionPolicy, DnsPolicy, HttpVersion, Redirects, Scheme, Target, TlsPolicy};
use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url: Uri = args.next().ok_or("usage: http_loop URL [CONNECTIONS] [SECONDS] [h1|h2]")?.parse()?;
    let connections: u32 = args.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let http = if args.next().as_deref() == Some("h2") { HttpVersion::Http2 } else { HttpVersion::Http1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(target_of(&url, http)?, url.path().to_owned(), connections, seconds))
}

fn target_of(url: &Uri, http: HttpVersion) -> Result<Target, Box<dyn Error>> {
    let is_https = url.scheme_str() == Some("https");
    Ok(Target {
        name: "loop".to_owned(),
        scheme: if is_https { Scheme::Https } else { Scheme::Http },
        host: url.host().ok_or("the URL has no host")?.to_owned(),
        port: url.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
        base_path: String::new(),
        region: None,
        weight: 1,
        headers: Vec::new(),
        http,
        tls: TlsPolicy { insecure: true, ..TlsPolicy::default() },
        connections: ConnectionPolicy::default(),
        dns: DnsPolicy::default(),
        proxy_from_environment: false,
        redirects: Redirects::Off,
        accept_encoding: Vec::new(),
        endpoint: squall_common::plan::Endpoint::OpenAi { model: None },
    })
}

async fn run(target: Target, path: String, connections: u32, seconds: u64) -> Result<(), Box<dyn Error>> {
    let shared = TargetShared::prepare(&target, &Default::default()).await?;
    shared.probe().await?;
    let client = TargetClient::new(shared, 0, 1);
    if target.http == HttpVersion::Http1 {
        client.warm(connections).await?;
    }
    let began_ns = now_ns();
    let cpu_began = cpu()?;
    let until_ns = began_ns + seconds * 1_000_000_000;
    let (done, failed) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
    let users: Vec<_> = (0..connections)
        .map(|_| {
            let (client, path, done, failed) = (client.clone(), path.clone(), done.clone(), failed.clone());
            tokio::task::spawn_local(async move {
                let mut request = Request::new(Method::GET);
                request.set_path(Span::Shared(path.into()));
                let mut response = Response::new();
                let mut attempt_end_ns = 0;
                while attempt_end_ns < until_ns {
                    let timeout = Duration::from_secs(10);
                    let attempt = client.exchange(&request, Want::default(), timeout, &mut response).await;
                    attempt_end_ns = attempt.done_ns;
                    done.set(done.get() + 1);
                    if !attempt.outcome.is_ok() || attempt.status != Some(200) {
                        failed.set(failed.get() + 1);
                    }
                }
            })
        })
        .collect();
    for user in users {
        user.await?;
    }
    let took_s = (now_ns() - began_ns) as f64 / 1e9;
    let cpu_end = cpu()?;
    let per_request = |us: f64| us / done.get().max(1) as f64;
    println!(
        "{:.0} req/s, {} failed, {:.2} us CPU per request ({:.2} user, {:.2} system), {} open, RSS {} KiB, peak {} KiB",
        done.get() as f64 / took_s,
        failed.get(),
        per_request(cpu_end.0 + cpu_end.1 - cpu_began.0 - cpu_began.1),
        per_request(cpu_end.0 - cpu_began.0),
        per_request(cpu_end.1 - cpu_began.1),
        client.open_connections(),
        resident_kib(),
        getrusage(UsageWho::RUSAGE_SELF)?.max_rss(),
    );
    Ok(())
}

/// User and system time so far, in microseconds.
fn cpu() -> Result<(f64, f64), Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok((us(usage.user_time()), us(usage.system_time())))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
