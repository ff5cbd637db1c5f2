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
        use std::error::Error as _;
        use tonic::Code;
        match status.code() {
            Code::InvalidArgument | Code::NotFound => Self::usage(status.message()),
            // The controller's own words, which say how to be let in.
            Code::Unauthenticated | Code::PermissionDenied => Self::usage(status.message()),
            Code::FailedPrecondition => Self::aborted(status.message()),
            Code::Unavailable if crate::seat::is_standby(status) => Self::aborted(status.message()),
            Code::Unavailable => Self::unreachable(controller, "the connection broke"),
            Code::Unimplemented => Self::aborted(format!(
                "the controller at {controller} does not know this command: run the same version on both"
            )),
            // It answers, but not in gRPC.
            _ if status.message() == "transport error" => Self::no_controller(controller),
            // The transport's words, not the controller's: it was reached, and then it was gone.
            _ if status.source().is_some() => Self::aborted(format!(
                "the connection to the controller at {controller} broke: {}. A run under way may go on; \
                 `squall watch` shows it",
                status.message()
            )),
            code if status.message().is_empty() => {
                Self::internal(format!("the controller at {controller} failed: {code}"))
            }
            _ => Self::internal(format!("the controller at {controller} failed: {}", status.message())),
        }
    }

    pub fn unreachable(controller: &str, why: &str) -> Self {
        Self::aborted(format!(
            "cannot reach a controller at {controller}: {why}. Is `squall serve` running there? \
             --controller URL names another"
        ))
    }

    /// Something listens there, but it does not speak our protocol.
    pub fn no_controller(controller: &str) -> Self {
        Self::aborted(format!(
            "what answers at {controller} is no Squall controller: is the port \
             right, and is it https:// or http://? --controller URL names another"
        ))
    }
}

/// As wide as the plan's problems are shown.
pub const WIDTH: usize = 80;

/// The first line broken at spaces, what follows under the first word after `error: `. What is
/// quoted stays on one line, to be copied; further lines show a source and stay as they are.
pub fn wrapped(text: &str, width: usize) -> String {
    let (first, rest) = text.split_once('\n').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let indent = " ".repeat("error: ".len());
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in words(first) {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, indent.clone()));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines.extend(rest.map(str::to_owned));
    lines.join("\n")
}

/// Words, and what stands between backticks as one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_quoted = false;
    for word in text.split(' ') {
        match words.last_mut() {
            Some(last) if is_quoted => *last = format!("{last} {word}"),
            _ => words.push(word.to_owned()),
        }
        is_quoted ^= word.matches('`').count() % 2 == 1;
    }
    words
}

/// What an error of the system means, without its number.
pub fn in_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "a file is in the way".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::QuotaExceeded => "the quota is used up".to_owned(),
        ErrorKind::FileTooLarge => "the file would grow beyond the limit for files".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
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
            super::output::note(&if is_whole { text.to_owned() } else { wrapped(&format!("error: {text}"), WIDTH) });
            ExitCode::from(failure.code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_are_broken_at_spaces_and_words_are_kept_whole() {
        assert_eq!(wrapped("error: ab cd ef", 13), "error: ab cd\n       ef");
        assert_eq!(wrapped("error: short", 80), "error: short");
        assert_eq!(wrapped("error: abcdefghijk l", 10), "error:\n       abcdefghijk\n       l");
        assert_eq!(wrapped("error: a\n  b  c  d", 8), "error: a\n  b  c  d");
        assert_eq!(wrapped("error: a `b c` d", 12), "error: a\n       `b c`\n       d");
    }
}
