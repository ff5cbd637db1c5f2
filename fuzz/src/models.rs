//! What model servers answer, and the data that prompts are read from.

use squall_common::generation::Reading;
use squall_common::plan::{Api, ModelCall};
use squall_common::sample::Outcome;
use std::time::Duration;

/// The first byte picks the API, the second where the stream is cut in two, which
/// must not matter but for when its tokens came: all of it is read at one instant.
pub fn token_stream(bytes: &[u8]) {
    let [api, cut, bytes @ ..] = bytes else { return };
    let api = Api::ALL[usize::from(*api) % Api::ALL.len()];
    let cut = usize::from(*cut).min(bytes.len());
    let whole = said_of(api, &[bytes]);
    let in_two = said_of(api, &[&bytes[..cut], &bytes[cut..]]);
    // What is kept of a body that is no stream is bounded, so an error in it may be cut.
    assert_eq!(whole, in_two, "cut after {cut} bytes");
    let mut reading = Reading::default();
    reading.begin(&call(api, false));
    reading.end(1, bytes);
    reading.outcome(Outcome::Ok);
}

fn call(api: Api, is_streamed: bool) -> ModelCall {
    let (stall, goodput) = (Duration::from_secs(1), Vec::new());
    ModelCall { api, is_streamed, names_model: false, prompted: None, stall, goodput }
}

fn said_of(api: Api, pieces: &[&[u8]]) -> String {
    let mut reading = Reading::default();
    reading.begin(&call(api, true));
    for piece in pieces {
        reading.feed(1_000, piece);
    }
    reading.end(1_000, b"");
    format!("{:?} {:?} {:?}", reading.outcome(Outcome::Ok), reading.detail(), reading.said())
}
