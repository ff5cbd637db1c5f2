//! One controller and one agent, with the flags and the environment of the test.

use squall_tests::binaries;
use squall_tests::process::Process;
use squall_tests::wait::secs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// Everything that its processes write stands below one directory.
pub struct Fleet {
    pub dir: TempDir,
    pub controller: String,
    processes: Vec<Process>,
    /// Every byte between agent and controller, and between operator and controller.
    pub wire: Wire,
}

/// What `squall run` came to.
pub struct Ran {
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Fleet {
    pub fn start(serve: &[&str], agent: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("squall-safety-").expect("a temporary directory");
        let mut command = command("squall", dir.path(), &["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
        command.args(serve);
        let mut process = Process::start("controller", command, dir.path());
        let line = process.says("controller on http://", secs(20));
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect("an address");
        let wire = Wire::default();
        let controller = format!("http://{}", wire.tap(address.trim().parse().expect("an address")));
        let mut fleet = Self { dir, controller, processes: vec![process], wire };
        fleet.add_agent(agent, environment);
        fleet
    }

    fn add_agent(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let dir = self.dir.path();
        let mut command = command("squall-agent", dir, &["--controller", &self.controller, "--workers", "1"]);
        command.args(["--sample-log", "."]).args(arguments).envs(environment.iter().copied());
        let mut process = Process::start("agent", command, dir);
        process.says("registered", secs(20));
        self.processes.push(process);
    }

    pub fn file(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(name), content).expect("a file");
    }

    /// `squall run plan.yaml` on this fleet, to its end.
    pub fn run(&self, plan: &str, arguments: &[&str]) -> Ran {
        self.file("plan.yaml", plan);
        let run = ["run", "plan.yaml", "--json", "--out", "out"];
        self.squall(&[&run[..], arguments].concat())
    }

    /// A command to this fleet's controller.
    pub fn squall(&self, arguments: &[&str]) -> Ran {
        let mut command = command("squall", self.dir.path(), arguments);
        command.args(["--controller", &self.controller]);
        let mut process = Process::start("squall", command, self.dir.path());
        let exit_code = process.exit_code_within(secs(60));
        Ran { exit_code, stdout: process.stdout(), stderr: process.stderr() }
    }
}

impl Ran {
    /// Its words, without their line breaks.
    pub fn said(&self) -> String {
        self.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// As chatty as it gets.
fn command(program: &str, dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::built(program));
    command.args(arguments).current_dir(dir).env("NO_COLOR", "1").env("RUST_LOG", "trace").env("SQUALL_LOG", "trace");
    for variable in ["SQUALL_CONTROLLER", "SQUALL_REGION", "SQUALL_SLOT", "SQUALL_ALLOW_TARGETS"] {
        command.env_remove(variable);
    }
    command
}

/// A proxy that keeps what it passes on.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Vec<u8>>>);

impl Wire {
    /// Where to connect to reach `to`.
    fn tap(&self, to: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let wire = self.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(to) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let wire = wire.clone();
                    std::thread::spawn(move || wire.pass(from, to));
                }
            }
        });
        address
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            self.0.lock().expect("the capture").extend_from_slice(&buffer[..read]);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    pub fn holds(&self, text: &str) -> bool {
        contains(&self.0.lock().expect("the capture"), text)
    }
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A target that gives back whatever it was sent, as an error below `/fails`, and
/// keeps it for the test.
pub fn echo() -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = kept.clone();
            std::thread::spawn(move || while answer(&stream, &kept).is_some() {});
        }
    });
    (address, seen)
}

fn answer(mut stream: &TcpStream, kept: &Mutex<String>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|&read| read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if body.len() < length {
            continue;
        }
        let status = if head.contains(" /fails") { "500 Internal Server Error" } else { "200 OK" };
        // Below `/fails/` only the body comes back.
        let said = if head.contains(" /fails/") { body } else { &text };
        let ids = "apim-request-id: of-the-gateway\r\nx-ms-region: East US\r\nset-cookie: not=told\r\n";
        let answer =
            format!("HTTP/1.1 {status}\r\n{ids}x-you-said: {}\r\ncontent-length: {}\r\n\r\n", body.trim(), said.len());
        stream.write_all(answer.as_bytes()).ok()?;
        stream.write_all(said.as_bytes()).ok()?;
        kept.lock().expect("what was seen").push_str(&text);
        return Some(());
    }
}
