//! Data on stdout, words on stderr. A reader that goes away early is no error.

use super::failure::Failure;
use std::io::{ErrorKind, Write};

/// Writes data; a closed pipe is quiet.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::internal(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one line for people. If nobody can read it, nobody can be told.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Takes colours (SGR sequences) out of a text.
pub fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_go_and_the_text_stays() {
        assert_eq!(super::without_colours("a \u{1b}[1;32mb\u{1b}[0m c"), "a b c");
        assert_eq!(super::without_colours("plain"), "plain");
    }
}
