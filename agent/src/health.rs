//! What the agent sees of its own process: memory and cgroup throttling.

use std::fs;

/// Time that the cgroup kept this process from running, in all so far.
#[derive(Debug, Default)]
pub struct Throttling {
    last_us: Option<u64>,
}

impl Throttling {
    /// Throttled µs since the last call; 0 where no cgroup v2 accounts for it.
    pub fn since_last_us(&mut self) -> u64 {
        let Some(total_us) = fs::read_to_string("/sys/fs/cgroup/cpu.stat").ok().and_then(|stat| throttled_us(&stat))
        else {
            return 0;
        };
        total_us.saturating_sub(self.last_us.replace(total_us).unwrap_or(total_us))
    }
}

fn throttled_us(cpu_stat: &str) -> Option<u64> {
    cpu_stat.lines().find_map(|line| line.strip_prefix("throttled_usec ")?.parse().ok())
}

/// Resident memory of this process, 0 where it can't be read.
pub fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_time_is_read_from_cpu_stat() {
        assert_eq!(throttled_us("usage_usec 5\nnr_throttled 2\nthrottled_usec 1234\n"), Some(1_234));
        assert_eq!(throttled_us("usage_usec 5\n"), None);
    }

    #[test]
    fn this_process_has_resident_memory() {
        assert!(resident_bytes() > 0);
    }
}
