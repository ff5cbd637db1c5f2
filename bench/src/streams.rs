//! What a stream of tokens costs a client, beside one in Python, on squall's own
//! simulator: 50 chunks a second in every stream.

use crate::clients::Client;
use crate::process::{Ran, SERVER_CORE, run_on, spawn_on};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Few enough for a client in Python on one core.
pub const STREAMS: u32 = 64;
pub const MANY_STREAMS: u32 = 1_000;
const START_LIMIT: Duration = Duration::from_secs(20);

/// Client CPU by the content chunks that the server sent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Streams {
    pub squall_us_per_chunk: Vec<f64>,
    pub python_us_per_chunk: Vec<f64>,
    pub kib_at_one: Option<u64>,
    pub kib_at_many: Option<u64>,
}

impl Streams {
    pub fn kib_each(&self) -> Option<f64> {
        Some(self.kib_at_many?.saturating_sub(self.kib_at_one?) as f64 / f64::from(MANY_STREAMS))
    }
}

/// The simulator as a process, ended with this.
struct Cloud {
    child: Child,
    port: u16,
    admin_port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cloud {
    fn start(squall: &Client) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let free = || std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr().map(|address| address.port());
        let (port, admin_port) = (free()?, free()?);
        let config = format!(
            "admin_port: {admin_port}\nregions:\n  - {{name: bench/here, port: {port}, model: {{capacity: 1200, \
             prefill_tokens_per_s: 1000000, step_ms: 20, step_ms_per_sequence: 0}}}}\n"
        );
        std::fs::write(dir.path().join("cloud.yaml"), config)?;
        let mut command = Command::new(&squall.program);
        command.args(["simulate", "cloud.yaml"]).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawn_on(SERVER_CORE, &mut command)?;
        let cloud = Self { child, port, admin_port, _dir: dir };
        let began = Instant::now();
        while cloud.chunks().is_err() {
            if began.elapsed() > START_LIMIT {
                return Err(io::Error::other("the simulator did not start"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(cloud)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", self.port)
    }

    /// Content chunks sent so far.
    fn chunks(&self) -> io::Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.write_all(b"GET /admin/truth HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let truth: serde_json::Value = serde_json::from_str(body)?;
        truth["regions"]["bench/here"]["deployments"]["gpt-4o"]["streams"]["output_chunks"]
            .as_u64()
            .ok_or_else(|| io::Error::other("the simulator's truth has no chunks"))
    }

    /// CPU of a client by the chunks it was sent, in µs.
    fn cost(&self, core: usize, command: &mut Command, seconds: u64) -> io::Result<(Option<f64>, Ran)> {
        let before = self.chunks()?;
        let ran = run_on(core, command, Duration::from_secs(seconds), |_| {})?;
        let chunks = self.chunks()? - before;
        Ok(((chunks > 0).then(|| ran.cpu.as_secs_f64() * 1e6 / chunks as f64), ran))
    }
}

/// A plan of streamed answers of up to 100 tokens.
fn plan(cloud: &Cloud, dir: &Path, streams: u32, seconds: u64) -> io::Result<()> {
    let plan = format!(
        "name: streams\ntarget: {{url: 'http://127.0.0.1:{}', deployment: gpt-4o, auth: {{api_key: k}}}}\n\
         scenarios: {{chat: {{chat: {{messages: [{{role: user, content: Hello}}], max_tokens: 100, stream: true}}}}}}\n\
         load: {{users: {streams}, for: {seconds}s}}\n",
        cloud.port
    );
    std::fs::write(dir.join("plan.yaml"), plan)
}

/// Measures both clients in turn, and squall's memory with many streams open.
/// What can't be believed is told in `notes`.
pub fn measure(
    squall: &Client,
    python: Option<&Path>,
    core: usize,
    (rounds, seconds): (u32, u64),
    notes: &mut Vec<String>,
) -> io::Result<Streams> {
    let cloud = Cloud::start(squall)?;
    let mut streams = Streams::default();
    let run = |streams: u32, seconds: u64, dir: &Path| -> io::Result<Command> {
        plan(&cloud, dir, streams, seconds)?;
        let mut command = Command::new(&squall.program);
        command.args(["run", "plan.yaml", "--no-out"]).current_dir(dir);
        Ok(command)
    };
    for _ in 0..rounds {
        let dir = tempfile::tempdir()?;
        let (cost, ran) = cloud.cost(core, &mut run(STREAMS, seconds, dir.path())?, seconds)?;
        notes.extend(ran.complaint().map(|complaint| format!("squall's streams: {complaint}")));
        streams.squall_us_per_chunk.extend(cost);
        if let Some(python) = python {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/stream.py");
            let mut command = Command::new(python);
            command.arg(script).args([cloud.url(), STREAMS.to_string(), seconds.to_string()]);
            let (cost, ran) = cloud.cost(core, &mut command, seconds)?;
            notes.extend(ran.complaint().map(|complaint| format!("streams in Python: {complaint}")));
            streams.python_us_per_chunk.extend(cost);
        }
    }
    for (count, kib) in [(1, &mut streams.kib_at_one), (MANY_STREAMS, &mut streams.kib_at_many)] {
        let dir = tempfile::tempdir()?;
        let ran = run_on(core, &mut run(count, 6, dir.path())?, Duration::from_secs(6), |_| {})?;
        notes.extend(ran.complaint().map(|complaint| format!("{count} streams: {complaint}")));
        *kib = ran.peak_kib(Duration::ZERO, Duration::MAX);
    }
    Ok(streams)
}
