//! Chat completions: the whole answer, and its chunks.

use serde_json::{Value, json};

use super::draft::{Finish, Kind};
use super::events::{Events, Frame, Oddity, Run, derived_id, error_object};
use super::sse::{Writer, quote};
use super::truth::TokenTruth;

pub(super) const FINGERPRINT: &str = "fp_squall";

/// `usage` as chat and completions report it.
pub(crate) fn usage(tokens: TokenTruth) -> Value {
    json!({
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.prompt + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0},
    })
}

/// The answer that is not streamed.
pub(crate) fn whole(frame: &Frame, tokens: TokenTruth) -> Value {
    let choices: Vec<Value> = frame.drafts.iter().enumerate().map(|(index, _)| choice(frame, index)).collect();
    let mut answer = json!({
        "id": frame.id, "object": "chat.completion", "created": frame.created, "model": frame.model,
        "system_fingerprint": FINGERPRINT, "choices": choices, "usage": usage(tokens),
    });
    if frame.is_azure {
        answer["prompt_filter_results"] = prompt_filter_results();
    }
    answer
}

fn choice(frame: &Frame, index: usize) -> Value {
    let draft = &frame.drafts[index];
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    if draft.is_text() {
        message["content"] = draft.whole(Kind::Content).into();
    } else {
        let calls = draft.calls().iter().zip(0..).map(|(name, call)| {
            let function = json!({"name": name, "arguments": draft.whole(Kind::ToolArguments(call))});
            json!({"id": call_id(frame, index as u32, call), "type": "function", "function": function})
        });
        message["tool_calls"] = calls.collect();
    }
    if draft.reasoning > 0 && !frame.reasoning_field.is_empty() {
        message[frame.reasoning_field] = draft.whole(Kind::Reasoning).into();
    }
    let mut choice =
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": draft.finish.name()});
    if frame.is_azure {
        choice["content_filter_results"] = severities(draft.finish == Finish::ContentFilter);
    }
    choice
}

fn call_id(frame: &Frame, choice: u32, call: u32) -> String {
    derived_id(frame, "call_", u64::from(choice) << 32 | u64::from(call))
}

/// What the filter says of each category.
pub(crate) fn severities(is_filtered: bool) -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    let violence = if is_filtered { json!({"filtered": true, "severity": "high"}) } else { safe.clone() };
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": violence})
}

pub(super) fn prompt_filter_results() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": severities(false)}])
}

/// Azure's chunk 0: no choice, no id, no model.
pub(super) fn write_prompt_filter(out: &mut Writer) {
    let chunk = json!({
        "id": "", "object": "", "created": 0, "model": "", "choices": [],
        "prompt_filter_results": prompt_filter_results(),
    });
    out.json(None, &chunk);
}

/// Chunks of a chat completion. What doesn't change is written once.
#[derive(Debug)]
pub(crate) struct ChatEvents {
    /// Up to the list of choices.
    head: String,
    tail: &'static str,
    middle: String,
}

impl ChatEvents {
    pub(crate) fn new(frame: &Frame) -> Self {
        let fields = json!({
            "id": frame.id, "object": "chat.completion.chunk", "created": frame.created, "model": frame.model,
            "system_fingerprint": FINGERPRINT,
        });
        let mut head = fields.to_string();
        head.truncate(head.len() - 1);
        let tail = if frame.include_usage { ",\"usage\":null}" } else { "}" };
        Self { head, tail, middle: String::new() }
    }

    fn chunk(&mut self, choices: &str, out: &mut Writer) {
        out.event(None, &[&self.head, ",\"choices\":", choices, self.tail]);
    }

    fn delta(&mut self, choice: u32, delta: &Value, finish: Option<Finish>, out: &mut Writer) {
        let finish = finish.map(Finish::name);
        let choices = json!([{"index": choice, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        self.chunk(&choices.to_string(), out);
    }

    fn annotation(&mut self, choice: u32, finish: Option<Finish>, out: &mut Writer) {
        let is_filtered = finish == Some(Finish::ContentFilter);
        let choices = json!([{
            "index": choice, "finish_reason": finish.map(Finish::name),
            "content_filter_results": severities(is_filtered),
            "content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": 0},
        }]);
        self.chunk(&choices.to_string(), out);
    }
}

impl Events for ChatEvents {
    fn open(&mut self, frame: &Frame, out: &mut Writer) {
        if frame.is_azure {
            write_prompt_filter(out);
        }
        for (draft, choice) in frame.drafts.iter().zip(0..) {
            let content = if draft.is_text() { json!("") } else { Value::Null };
            self.delta(choice, &json!({"role": "assistant", "content": content}), None, out);
        }
    }

    fn run(&mut self, frame: &Frame, run: &Run, out: &mut Writer) -> bool {
        let field = match run.kind {
            Kind::Content => "content",
            Kind::Reasoning => frame.reasoning_field,
            Kind::ToolName(call) => {
                let name = frame.drafts[run.choice as usize].calls().get(call as usize);
                let tool_call = json!({
                    "index": call, "id": call_id(frame, run.choice, call), "type": "function",
                    "function": {"name": name, "arguments": run.text},
                });
                self.delta(run.choice, &json!({"tool_calls": [tool_call]}), None, out);
                return true;
            }
            Kind::ToolArguments(call) => {
                let tool_call = json!({"index": call, "function": {"arguments": run.text}});
                self.delta(run.choice, &json!({"tool_calls": [tool_call]}), None, out);
                return true;
            }
        };
        // The chunk that comes by the million: no tree of values for it.
        let middle = &mut self.middle;
        middle.clear();
        middle.push_str(",\"choices\":[{\"index\":");
        if run.choice < 10 {
            middle.push(char::from(b'0' + run.choice as u8));
        } else {
            middle.push_str(&run.choice.to_string());
        }
        middle.push_str(",\"delta\":{\"");
        middle.push_str(field);
        middle.push_str("\":");
        quote(&run.text, middle);
        middle.push_str("},\"logprobs\":null,\"finish_reason\":null}]");
        out.event(None, &[&self.head, middle, self.tail]);
        true
    }

    fn oddity(&mut self, _: &Frame, oddity: Oddity, out: &mut Writer) {
        match oddity {
            Oddity::NoChoices => self.chunk("[]", out),
            Oddity::NoDelta => self.chunk("[{\"index\":0,\"logprobs\":null,\"finish_reason\":null}]", out),
            Oddity::Annotation(choice) => self.annotation(choice, None, out),
        }
    }

    fn finish(&mut self, _: &Frame, choice: u32, finish: Finish, out: &mut Writer) {
        self.delta(choice, &json!({}), Some(finish), out);
    }

    fn filtered(&mut self, frame: &Frame, out: &mut Writer) {
        for choice in 0..frame.drafts.len() as u32 {
            self.annotation(choice, Some(Finish::ContentFilter), out);
        }
    }

    fn error(&mut self, _: &Frame, out: &mut Writer) {
        out.json(None, &json!({"error": error_object()}));
    }

    fn close(&mut self, frame: &Frame, tokens: TokenTruth, is_done: bool, out: &mut Writer) {
        if frame.include_usage {
            let rest = format!(",\"choices\":[],\"usage\":{}}}", usage(tokens));
            out.event(None, &[&self.head, &rest]);
        }
        if is_done {
            out.event(None, &["[DONE]"]);
        }
    }
}
