//! What every streamed shape of an answer has in common.

use squall_common::random::Random;

use super::ask::{Api, Ask};
use super::chat::ChatEvents;
use super::completions::CompletionEvents;
use super::draft::{Draft, Finish, Kind};
use super::responses::ResponseEvents;
use super::sse::Writer;
use super::truth::TokenTruth;

/// What an answer's JSON says besides the answer.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) id: String,
    pub(crate) model: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Azure's paths announce their content filter in a chunk of their own.
    pub(crate) is_azure: bool,
    pub(crate) include_usage: bool,
    /// `reasoning_content`, or `reasoning`.
    pub(crate) reasoning_field: &'static str,
    pub(crate) drafts: Vec<Draft>,
}

/// Tokens of one kind and choice, sent together.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) choice: u32,
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) tokens: u32,
}

/// Chunks some servers send between the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    NoChoices,
    NoDelta,
    /// Of the asynchronous filter, for a choice.
    Annotation(u32),
}

/// A streamed shape of an answer. A shape that has no such oddity writes nothing.
pub(crate) trait Events: Send {
    fn open(&mut self, frame: &Frame, out: &mut Writer);
    /// Says whether it wrote an output chunk: a delta that is not empty.
    fn run(&mut self, frame: &Frame, run: &Run, out: &mut Writer) -> bool;
    fn oddity(&mut self, frame: &Frame, oddity: Oddity, out: &mut Writer);
    /// Ends one choice.
    fn finish(&mut self, frame: &Frame, choice: u32, finish: Finish, out: &mut Writer);
    /// The filter ends every choice, late.
    fn filtered(&mut self, frame: &Frame, out: &mut Writer);
    /// Ends the stream in place of `finish` and `close`.
    fn error(&mut self, frame: &Frame, out: &mut Writer);
    /// Ends the stream; without its terminator if `is_done` is false.
    fn close(&mut self, frame: &Frame, usage: TokenTruth, is_done: bool, out: &mut Writer);
}

impl Frame {
    /// The events of this answer.
    pub(crate) fn events(&self, ask: &Ask) -> Box<dyn Events> {
        match ask.api {
            Api::Completions => Box::new(CompletionEvents::new(self)),
            Api::Responses => Box::new(ResponseEvents::new(self)),
            Api::Chat | Api::Embeddings => Box::new(ChatEvents::new(self)),
        }
    }
}

/// An id of 24 characters that the answer's id and `parts` name.
pub(crate) fn derived_id(frame: &Frame, prefix: &str, part: u64) -> String {
    let seed = frame.id.bytes().fold(part, |seed, byte| seed.rotate_left(7) ^ u64::from(byte));
    let mut random = Random::at(seed, &[part]);
    let id = format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
    format!("{prefix}{}", &id[..24])
}

/// The error some servers send in a stream whose status was 200.
pub(crate) fn error_object() -> serde_json::Value {
    serde_json::json!({
        "message": "The server had an error while processing your request. Sorry about that!",
        "type": "server_error", "param": null, "code": "server_error",
    })
}
