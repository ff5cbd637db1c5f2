//! One network namespace.

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

/// A network namespace; it lives as long as this or any process in it.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with nothing in it but its loopback interface, which is up.
    pub fn new() -> Self {
        let file = joined(thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| {
                panic!(
                    "cannot make a network namespace: {error}. Run the tests as root, in a container with \
                     CAP_SYS_ADMIN and CAP_NET_ADMIN, or under `unshare --map-root-user --net`"
                )
            });
            // Before any interface is made, so that none begins to look for routers.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            File::open("/proc/thread-self/ns/net").expect("a thread's namespace")
        }));
        let namespace = Self { file };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` inside. What it starts, threads and processes alike, stays
    /// inside; sockets that it makes keep belonging there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("cannot enter: {error}"));
            work()
        };
        // The name is the test's, so that what it says is told with its name.
        let name = thread::current().name().unwrap_or("inside a namespace").to_owned();
        thread::scope(|scope| {
            let handle = thread::Builder::new().name(name).spawn_scoped(scope, inside).expect("a thread");
            handle.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// `ip ARGUMENTS` inside.
    pub(super) fn ip(&self, arguments: &str) {
        let output = self.run(|| Command::new("ip").args(arguments.split(' ')).output());
        let output = output.expect("`ip` is not installed: run `make test`, or install the package iproute2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {said}");
    }

    /// Where `ip` finds this namespace.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

fn joined<T>(handle: thread::JoinHandle<T>) -> T {
    handle.join().unwrap_or_else(|panic| resume_unwind(panic))
}
