//! One client process: started on its core, watched, and what it cost.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the memory of a process is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A process may take this much longer than it was asked to run.
const GRACE: Duration = Duration::from_secs(40);

/// What a process did and cost.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub exit_code: Option<i32>,
    /// User and system time of the process and all its threads and children.
    pub cpu: Duration,
    /// Resident memory by time since the start.
    pub resident_kib: Vec<(Duration, u64)>,
}

impl Ran {
    /// The largest resident memory seen between two instants of its life.
    pub fn peak_kib(&self, from: Duration, to: Duration) -> Option<u64> {
        self.resident_kib.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, kib)| *kib).max()
    }

    /// Why it must not be believed, if so.
    pub fn complaint(&self) -> Option<String> {
        let said = self.stderr.lines().next_back().unwrap_or_default().trim();
        match self.exit_code {
            Some(0) => None,
            Some(code) => Some(format!("exit code {code}: {said}")),
            None => Some("it took too long and was ended".to_owned()),
        }
    }
}

/// Where the server runs, and the benchmark itself while it waits.
pub const SERVER_CORE: usize = 0;

/// Starts a process on one core.
pub fn spawn_on(core: usize, command: &mut Command) -> io::Result<Child> {
    // A child inherits the cores of the thread that starts it.
    pin(core)?;
    let child = command.stdin(Stdio::null()).spawn();
    pin(SERVER_CORE)?;
    child
}

/// Runs a process on one core to its end. `expected` bounds it, with grace.
pub fn run_on(
    core: usize,
    command: &mut Command,
    expected: Duration,
    mut watch: impl FnMut(Duration),
) -> io::Result<Ran> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let cpu_before = children_cpu()?;
    let began = Instant::now();
    let mut child = spawn_on(core, command)?;
    let mut resident = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        let at = began.elapsed();
        if at > expected + GRACE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        if let Some(kib) = resident_kib(child.id()) {
            resident.push((at, kib));
        }
        watch(at);
        std::thread::sleep(LOOK_EVERY);
    };
    // Children are waited for one at a time: the difference is this one's.
    let cpu = children_cpu()?.saturating_sub(cpu_before);
    Ok(Ran {
        stdout: text(&mut out)?,
        stderr: text(&mut err)?,
        exit_code: status.and_then(|status| status.code()),
        cpu,
        resident_kib: resident,
    })
}

pub fn core_count() -> usize {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
    last.map_or(1, |last| last + 1)
}

/// The machine's own name for its processor.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

/// Processes that wanted to run during the last minute, on average.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

pub fn on_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Keeps the calling thread on one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn children_cpu() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(us as u64))
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn text(file: &mut fs::File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
