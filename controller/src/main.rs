//! The `squall` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    squall_controller::cli::main()
}
