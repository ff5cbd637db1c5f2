//! Faults of networks: the links that carry them.

#[cfg(target_os = "linux")]
mod links;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    squall_tests::netns::become_root();
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, links::trials()).exit_code()
}

/// Network namespaces are Linux's.
#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("faults need network namespaces, which only Linux has: nothing was tested");
}
