//! Faults of networks and processes, one by one, and what a run says of them.
//!
//! `make test` runs them; `make reliability` also writes the table of
//! `docs/reliability.md` from what they saw.

#[cfg(target_os = "linux")]
mod account;
#[cfg(target_os = "linux")]
mod catalogue;
#[cfg(target_os = "linux")]
mod head;
#[cfg(target_os = "linux")]
mod impostors;
#[cfg(target_os = "linux")]
mod intruders;
#[cfg(target_os = "linux")]
mod links;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod table;

/// Runs mostly wait, so more of them than processors go on together.
#[cfg(target_os = "linux")]
const AT_ONCE: usize = 6;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial, run};

    squall_tests::netns::become_root();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = links::trials();
    trials.extend(catalogue::FAULTS.iter().map(|fault| {
        Trial::test(format!("faults::{}", fault.name), || {
            let mut stage = (fault.stage)(fault.run);
            (fault.inflict)(&mut stage);
            table::keep(stage.ends().account(fault.fault, fault.lasted, fault.most));
            Ok(())
        })
    }));
    let conclusion = run(&arguments, trials);
    if !conclusion.has_failed() {
        table::write_where_wanted();
    }
    conclusion.exit_code()
}

/// Network namespaces are Linux's.
#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("faults need network namespaces, which only Linux has: nothing was tested");
}
