//! The right to make network namespaces.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;

/// Makes an ordinary user root in a user namespace of its own, which is enough to
/// make network namespaces in; root stays what it is. To be called before the
/// first thread is started: the kernel lets only single-threaded processes do it.
///
/// # Panics
/// Where the machine permits neither, with what to do about it. Tests of faults
/// that quietly did not run would look like a cluster that survives them.
pub fn become_root() {
    if geteuid().is_root() {
        return;
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).unwrap_or_else(|error| {
        panic!(
            "cannot make a user namespace: {error}. These tests need network namespaces: run them as root, or allow \
             user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns), or in a container add CAP_SYS_ADMIN and CAP_NET_ADMIN"
        )
    });
    let write = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    };
    // A group may only be mapped by somebody who can no longer drop groups.
    write("setgroups", "deny".to_owned());
    write("uid_map", format!("0 {user} 1"));
    write("gid_map", format!("0 {group} 1"));
}
