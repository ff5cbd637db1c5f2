//! The chunked coding, byte by byte where it must be and in runs where it can.
//!
//! Strict: lines end in CRLF, sizes are hexadecimal digits, and both extensions
//! and trailers are bounded. A lenient reader would call a broken gateway healthy.

use super::decode::DecodeError;

/// Bytes of extensions of one chunk, and of all trailers.
const EXTENSION_MAX: u32 = 16 << 10;
const TRAILERS_MAX: u32 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
    },
    /// White space after the size, before `;` or the line's end.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// The current chunk's size, then what is left of it.
    left: u64,
    extra_bytes: u32,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, left: 0, extra_bytes: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what belongs to the body from the front of `bytes`; returns how much.
    pub(super) fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<usize, DecodeError> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if self.state == State::Data {
                let run = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                body(&bytes[at..at + run]);
                at += run;
                self.left -= run as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, DecodeError> {
        let bad = Err(DecodeError::Chunk);
        Ok(match (self.state, byte) {
            (State::Size { digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return bad;
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 0 }, _) => return bad,
            (State::Size { .. } | State::SizeSpace, b' ' | b'\t') => self.extra(EXTENSION_MAX, State::SizeSpace)?,
            (State::Size { .. } | State::SizeSpace, b';') => State::Extension,
            (State::Size { .. } | State::SizeSpace | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, byte) if byte != b'\n' => self.extra(EXTENSION_MAX, State::Extension)?,
            (State::SizeLf, b'\n') => {
                self.extra_bytes = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, byte) if byte != b'\n' => {
                self.extra(TRAILERS_MAX, State::Trailer)?
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return bad,
        })
    }

    fn extra(&mut self, max: u32, next: State) -> Result<State, DecodeError> {
        self.extra_bytes += 1;
        if self.extra_bytes > max { Err(DecodeError::Chunk) } else { Ok(next) }
    }
}
