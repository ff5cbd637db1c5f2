//! How long before an arrival a worker stops sleeping and polls.
//!
//! A core that sleeps takes about 40 µs to wake, and on a shared host its next
//! turn may be milliseconds away; a core that polls is there (docs/performance.md
//! has figures). cpuidle's haltpoll governor does the same for a whole guest, for
//! 200 µs by default (Linux, admin-guide/pm/cpuidle.rst). Polling gives way to
//! whoever else wants the core, and its CPU time is not counted as load.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

const DEFAULT: Duration = Duration::from_micros(200);
/// Above this a worker would only heat the room.
const LONGEST: Duration = Duration::from_millis(10);

/// The flag `--busy-poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// 200 µs, unless the process has a CPU quota: polling would use that up.
    #[default]
    Auto,
    Off,
    For(Duration),
}

impl BusyPoll {
    /// How long before an instant to poll, in ns; 0 for not at all.
    pub fn window_ns(self) -> u64 {
        let window = match self {
            Self::Auto if has_cpu_quota(Path::new("/sys/fs/cgroup"), &own_cgroup()) => Duration::ZERO,
            Self::Auto => DEFAULT,
            Self::Off => Duration::ZERO,
            Self::For(window) => window,
        };
        window.as_nanos() as u64
    }
}

impl FromStr for BusyPoll {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "off" | "0" => return Ok(Self::Off),
            _ => {}
        }
        let window = squall_common::units::parse_duration(text).map_err(|problem| problem.to_string())?;
        if window > LONGEST {
            return Err("at most 10ms; `auto` is 200us, `off` never polls".to_owned());
        }
        Ok(Self::For(window))
    }
}

/// Its path below the root of cgroup v2, as the process itself sees it.
fn own_cgroup() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    PathBuf::from(path)
}

/// Does this cgroup, or one that it lies in, have a limit on CPU time?
/// (cgroup v2's `cpu.max`, cgroup v1's `cpu.cfs_quota_us`.)
fn has_cpu_quota(root: &Path, own: &Path) -> bool {
    let says_max = |path: PathBuf| std::fs::read_to_string(path).is_ok_and(|text| !text.starts_with("max"));
    let v1 = || {
        let quota = std::fs::read_to_string(root.join("cpu/cpu.cfs_quota_us")).ok();
        quota.and_then(|text| text.trim().parse::<i64>().ok()).is_some_and(|quota_us| quota_us > 0)
    };
    own.ancestors().any(|group| says_max(root.join(group).join("cpu.max"))) || v1()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn a_quota_anywhere_above_counts_and_none_is_none() {
        let free = cgroups(&[("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "max 100000\n")]);
        assert!(!has_cpu_quota(free.path(), Path::new("a/b")));
        let above = cgroups(&[("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "150000 100000\n")]);
        assert!(has_cpu_quota(above.path(), Path::new("a/b")));
        let older = cgroups(&[("cpu/cpu.cfs_quota_us", "50000\n")]);
        assert!(has_cpu_quota(older.path(), Path::new("")));
        assert!(!has_cpu_quota(cgroups(&[("cpu/cpu.cfs_quota_us", "-1\n")]).path(), Path::new("")));
    }

    #[test]
    fn the_flag_takes_auto_off_and_short_durations() {
        assert_eq!("auto".parse(), Ok(BusyPoll::Auto));
        assert_eq!("off".parse(), Ok(BusyPoll::Off));
        assert_eq!("50us".parse(), Ok(BusyPoll::For(Duration::from_micros(50))));
        assert!("1s".parse::<BusyPoll>().is_err_and(|problem| problem.contains("at most 10ms")));
        assert!("often".parse::<BusyPoll>().is_err());
    }
}
