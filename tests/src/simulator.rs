//! `squall simulate` as a process of its own, and the truth it tells.

use crate::process::Process;
use crate::summary::Summary;
use crate::wait::{self, secs};
use crate::{binaries, ports};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A simulated cloud.
pub struct Simulator {
    _process: Process,
    _dir: TempDir,
    regions: Vec<(String, u16)>,
    admin_port: u16,
}

impl Simulator {
    /// Serves these regions on free ports.
    pub fn start(regions: &[&str]) -> Self {
        Self::start_as(regions, "", "")
    }

    /// The same with more in its configuration: lines of its own, and fields of every region.
    pub fn start_as(regions: &[&str], lines: &str, of_regions: &str) -> Self {
        let dir = TempDir::with_prefix("squall-simulator-").expect("a temporary directory");
        let admin_port = ports::free();
        let regions: Vec<(String, u16)> = regions.iter().map(|name| ((*name).to_owned(), ports::free())).collect();
        let mut config = format!("{lines}\nadmin_port: {admin_port}\nregions:\n");
        for (name, port) in &regions {
            let _ = writeln!(config, "  - {{name: {name}, port: {port}, {of_regions}}}");
        }
        std::fs::write(dir.path().join("cloud.yaml"), config).expect("cloud.yaml");
        let mut command = Command::new(binaries::built("squall"));
        command.args(["simulate", "cloud.yaml"]).current_dir(dir.path()).env_remove("SQUALL_LOG");
        let mut process = Process::start("simulator", command, dir.path());
        process.says("admin http://", secs(10));
        Self { _process: process, _dir: dir, regions, admin_port }
    }

    /// The base URL of a region.
    pub fn url(&self, region: &str) -> String {
        let found = self.regions.iter().find(|(name, _)| name == region);
        let (_, port) = found.unwrap_or_else(|| panic!("no region {region} is simulated"));
        format!("http://127.0.0.1:{port}")
    }

    /// The base URL of the admin server.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// Tells the admin server something.
    pub fn tell(&self, path: &str, body: &str) {
        let head = format!("POST {path} HTTP/1.1\r\ncontent-length: {}", body.len());
        exchange(self.admin_port, &head, body);
    }

    /// What the simulator saw, once nothing is in flight.
    pub fn truth(&self) -> Summary {
        wait::until("nothing to be in flight at the simulator", secs(10), || {
            let truth = self.truth_now();
            let idle = |(name, _): &(String, u16)| truth.part("regions", name).count("total.in_flight") == 0;
            self.regions.iter().all(idle).then_some(truth)
        })
    }

    /// What the simulator saw so far, whatever is in flight.
    pub fn truth_now(&self) -> Summary {
        Summary::from_json(&get(self.admin_port, "/admin/truth"))
    }

    /// What one region saw in all.
    pub fn truth_of(&self, region: &str) -> Summary {
        Summary(self.truth().part("regions", region).at("total").clone())
    }
}

/// The body of a 200 to a GET.
fn get(port: u16, path: &str) -> String {
    exchange(port, &format!("GET {path} HTTP/1.1"), "")
}

/// The body of a success.
fn exchange(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the admin server listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    write!(stream, "{head}\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n{body}").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    body.to_owned()
}
