//! nginx as the target: it answers any request with 200 and 16 bytes, and its
//! access log is the count that Squall's figures are held against.

use crate::process::Process;
use crate::wait::{self, secs};
use crate::{binaries, ports};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// What nginx serves beside plain HTTP.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM: the chain and its key.
    pub certificate: String,
    pub key: String,
}

/// One nginx, in one process.
pub struct Nginx {
    process: Process,
    dir: TempDir,
    port: u16,
    scheme: &'static str,
}

/// One request as nginx saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Seconds of the wall clock, to the millisecond, when it was answered.
    pub at_s: f64,
    pub status: u16,
    pub method: String,
    pub uri: String,
    /// Only of requests below `/kept/`.
    pub body: String,
}

impl Nginx {
    pub fn start() -> Self {
        Self::with(ports::free(), None)
    }

    /// On a port that is known to be free, as all are in a namespace of one's own.
    pub fn on_port(port: u16) -> Self {
        Self::with(port, None)
    }

    pub fn with_tls(tls: Tls) -> Self {
        Self::with(ports::free(), Some(tls))
    }

    fn with(port: u16, tls: Option<Tls>) -> Self {
        let dir = TempDir::with_prefix("squall-nginx-").expect("a temporary directory");
        let scheme = if tls.is_some() { "https" } else { "http" };
        if let Some(tls) = &tls {
            fs::write(dir.path().join("server.pem"), &tls.certificate).expect("the certificate");
            fs::write(dir.path().join("server.key"), &tls.key).expect("the key");
        }
        fs::write(dir.path().join("nginx.conf"), configuration(&dir, port, tls.is_some())).expect("nginx.conf");
        let mut command = Command::new(binaries::nginx());
        command.arg("-p").arg(dir.path()).arg("-c").arg("nginx.conf").arg("-e").arg("error.log");
        let mut process = Process::start("nginx", command, dir.path());
        wait::until("nginx to listen", secs(10), || {
            assert_eq!(process.ended(), None, "nginx ended:\n{}{}", process.stderr(), errors(&dir));
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { process, dir, port, scheme }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Requests answered so far.
    pub fn served_so_far(&self) -> usize {
        fs::read(self.log()).map_or(0, |log| log.iter().filter(|&&byte| byte == b'\n').count())
    }

    /// Stops answering; connections still come in, and wait.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Ends nginx, which writes every line it owes, and reads its log.
    pub fn stop(mut self) -> Vec<Served> {
        self.process.signal(Signal::QUIT);
        self.process.exit_code_within(secs(10));
        let log = fs::read_to_string(self.log()).expect("the access log");
        log.lines().map(served).collect()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }
}

/// How often each body was sent.
pub fn bodies(served: &[Served]) -> BTreeMap<String, u64> {
    count(served.iter().map(|request| request.body.clone()))
}

/// How often each URI was asked for.
pub fn uris(served: &[Served]) -> BTreeMap<String, u64> {
    count(served.iter().map(|request| request.uri.clone()))
}

fn count(texts: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    counts
}

/// A line of the access log; the body comes last, because anything may stand in it.
fn served(line: &str) -> Served {
    let mut fields = line.splitn(5, ' ');
    let mut next = || fields.next().unwrap_or_else(|| panic!("a line of the access log is cut: {line}")).to_owned();
    Served {
        at_s: next().parse().expect("$msec is a number"),
        status: next().parse().expect("$status is a number"),
        method: next(),
        uri: next(),
        body: next(),
    }
}

fn errors(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("error.log")).unwrap_or_default()
}

/// One process, so that a signal stops all of it. The log is written line by
/// line, without a buffer. Bodies are only seen where they are passed on, which
/// is what `/kept/` does, to a second server inside.
fn configuration(dir: &TempDir, port: u16, tls: bool) -> String {
    let dir = dir.path().display();
    let (ssl, certificate) =
        if tls { (" ssl", "ssl_certificate server.pem; ssl_certificate_key server.key;") } else { ("", "") };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/temp-{kind};\n"))
        .concat();
    format!(
        r#"daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  log_format kept escape=none '$msec $status $request_method $request_uri $request_body';
  access_log {dir}/access.log kept;
  {temporary}
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  server {{
    listen 127.0.0.1:{port}{ssl} backlog=4096;
    {certificate}
    location / {{ return 200 "0123456789abcdef"; }}
    location /kept/ {{
      client_body_buffer_size 64k;
      client_body_in_single_buffer on;
      proxy_pass http://unix:{dir}/inside.sock;
    }}
  }}
  server {{
    listen unix:{dir}/inside.sock;
    access_log off;
    location / {{ return 200 "0123456789abcdef"; }}
  }}
}}
"#
    )
}
