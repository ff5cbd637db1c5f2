//! What decodes a target's bytes, for those who feed it with bytes that no target
//! should send: the `fuzz` crate. No part of a run goes through here.

use super::facts::Coding;
use super::h1::decode::{Decoder, Progress, Sink};
use super::response::Response;
use super::{coding, redirect};
use http::Method;
use squall_common::plan::ContentCoding;

pub use super::coding::DECODED_MAX;

/// A response as its decoder told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub status: Option<u16>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    /// How it ended, in words.
    pub end: String,
    pub is_reusable: bool,
}

impl Sink for Told {
    fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    fn header(&mut self, name: &[u8], value: &[u8]) {
        self.headers.push((name.to_vec(), value.to_vec()));
    }

    fn body(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }
}

/// An HTTP/1 response that arrives in these pieces, after which the connection ends.
pub fn read_http1(pieces: &[&[u8]]) -> Told {
    let (mut told, mut decoder) = (Told::default(), Decoder::new(false));
    let mut fed = 0;
    for piece in pieces {
        match decoder.feed(piece, &mut told) {
            Ok(Progress::NeedMore) => fed += piece.len(),
            Ok(Progress::Done { consumed }) => {
                told.end = format!("done after {} bytes", fed + consumed);
                told.is_reusable = decoder.is_reusable();
                return told;
            }
            Err(error) => {
                told.end = error.to_string();
                return told;
            }
        }
    }
    told.end = decoder.end().map_or_else(|error| error.to_string(), |()| "done at the end".to_owned());
    told
}

/// The decoded length of a body, or why it has none. `which` picks the coding.
pub fn decode_body(which: u8, coded: &[u8]) -> Result<u64, String> {
    const CODINGS: [ContentCoding; 4] =
        [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd];
    let mut response = Response::new();
    response.coded = coded.to_vec();
    let coding = Coding::Known(CODINGS[usize::from(which) % CODINGS.len()]);
    coding::decode(coding, &mut response, false).map_err(|failure| failure.detail.to_string())
}

/// Where a redirect of a GET leads, if it stays with its origin.
pub fn redirected_path(origin: &str, path_now: &[u8], location: &[u8]) -> Option<Vec<u8>> {
    redirect::next_hop(origin, path_now, &Method::GET, 302, location).map(|hop| hop.path)
}
