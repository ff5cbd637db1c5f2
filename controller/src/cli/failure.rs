//! How a command ends: a verdict, or an error with its documented exit code.

use squall_common::verdict::Verdict;
use std::process::ExitCode;

/// Everything worked.
pub const OK: u8 = 0;
/// Our own fault, or the machine's.
pub const INTERNAL: u8 = 1;
/// Bad usage or a plan that cannot run.
pub const USAGE: u8 = 2;

/// Why a command ended without doing what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// What, where, what to do.
    pub text: String,
    pub code: u8,
}

impl Failure {
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: USAGE }
    }

    pub fn internal(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: INTERNAL }
    }

    /// The run did not begin or did not get to its end.
    pub fn aborted(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: Verdict::Aborted.exit_code() }
    }

    /// What a controller answered in place of what was asked.
    pub fn from_status(controller: &str, status: &tonic::Status) -> Self {
        use tonic::Code;
        match status.code() {
            Code::InvalidArgument | Code::NotFound => Self::usage(status.message()),
            Code::FailedPrecondition => Self::aborted(status.message()),
            Code::Unavailable => Self::unreachable(controller),
            _ => Self::internal(format!("the controller at {controller} failed: {}", status.message())),
        }
    }

    pub fn unreachable(controller: &str) -> Self {
        Self::aborted(format!(
            "cannot reach a controller at {controller}: is `squall serve` running there? (--controller URL names another)"
        ))
    }
}

/// What a command came to.
pub type Ended = Result<u8, Failure>;

/// The exit code of a verdict by its name; a name we do not know is our fault.
pub fn code_of_verdict(name: &str) -> u8 {
    Verdict::from_name(name).map_or(INTERNAL, Verdict::exit_code)
}

/// Says what went wrong on stderr.
pub fn exit(ended: Ended) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let text = failure.text.trim_end();
            // The parser's problems come with their own words.
            let is_whole = text.starts_with("error") || text.contains("\nerror: ");
            super::output::note(&if is_whole { text.to_owned() } else { format!("error: {text}") });
            ExitCode::from(failure.code)
        }
    }
}
