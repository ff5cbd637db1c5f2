//! The JSON of a completion, whole and in chunks.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use squall_common::random::Random;

const WORDS: [&str; 16] = [
    " the", " wind", " rises", " over", " a", " grey", " sea", " and", " every", " sail", " is", " set", " before",
    " its", " first", " gust",
];

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// The request's limit came first.
    Length,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// All that is known of an answer before it is given.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) id: String,
    pub(crate) model: String,
    /// Azure's paths announce their content filter in a chunk of their own.
    pub(crate) is_azure: bool,
    pub(crate) prompt_tokens: u32,
    pub(crate) completion_tokens: u32,
    pub(crate) finish: Finish,
    /// Seeds the text.
    pub(crate) words: u64,
}

impl Completion {
    /// The text of token `index`.
    pub(crate) fn word(&self, index: u32) -> &'static str {
        WORDS[Random::at(self.words, &[u64::from(index)]).below(WORDS.len() as u64) as usize]
    }

    pub(crate) fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        })
    }

    /// The answer that is not streamed.
    pub(crate) fn whole(&self) -> Value {
        let content: String = (0..self.completion_tokens).map(|index| self.word(index)).collect();
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": created(),
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "logprobs": null,
                "finish_reason": self.finish.name(),
            }],
            "usage": self.usage(),
        })
    }

    pub(crate) fn chunk(&self, delta: Value) -> Value {
        self.with_choices(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]))
    }

    pub(crate) fn finish_chunk(&self) -> Value {
        self.with_choices(json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": self.finish.name()}]))
    }

    pub(crate) fn usage_chunk(&self) -> Value {
        let mut chunk = self.with_choices(json!([]));
        chunk["usage"] = self.usage();
        chunk
    }

    /// Azure's chunk 0: no choice, no id, no model.
    pub(crate) fn filter_chunk() -> Value {
        let safe = json!({"filtered": false, "severity": "safe"});
        let results = json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe});
        json!({
            "id": "", "object": "", "created": 0, "model": "", "choices": [],
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": results}],
        })
    }

    fn with_choices(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": created(),
            "model": self.model,
            "choices": choices,
        })
    }
}

fn created() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
