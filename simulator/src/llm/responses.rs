//! The responses API: one object, and typed events that build it up.

use serde_json::{Value, json};

use super::draft::{Draft, Finish, Kind};
use super::events::{Events, Frame, Oddity, Run, derived_id, error_object};
use super::sse::{Writer, quote};
use super::truth::TokenTruth;

/// `usage` as responses report it.
pub(crate) fn usage(tokens: TokenTruth) -> Value {
    json!({
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.output,
    })
}

/// The answer that is not streamed.
pub(crate) fn whole(frame: &Frame, tokens: TokenTruth) -> Value {
    let Some(draft) = frame.drafts.first() else { return Value::Null };
    let output = items(draft, frame).into_iter().map(|kind| item(frame, kind, &draft.whole(kind), "completed"));
    let output = output.collect();
    response(frame, ended(draft.finish), output, Some(tokens))
}

/// The output items of an answer, named by the tokens they are made of.
fn items(draft: &Draft, frame: &Frame) -> Vec<Kind> {
    let mut kinds = Vec::new();
    if draft.reasoning > 0 && !frame.reasoning_field.is_empty() {
        kinds.push(Kind::Reasoning);
    }
    if draft.is_text() && draft.tokens > draft.reasoning {
        kinds.push(Kind::Content);
    }
    kinds.extend((0..draft.calls().len() as u32).map(Kind::ToolArguments));
    kinds
}

/// Status, and why it is incomplete.
fn ended(finish: Finish) -> (&'static str, Option<&'static str>) {
    match finish {
        Finish::Stop | Finish::ToolCalls => ("completed", None),
        Finish::Length => ("incomplete", Some("max_output_tokens")),
        Finish::ContentFilter => ("incomplete", Some("content_filter")),
    }
}

fn response(
    frame: &Frame,
    (status, reason): (&str, Option<&str>),
    output: Vec<Value>,
    tokens: Option<TokenTruth>,
) -> Value {
    json!({
        "id": frame.id, "object": "response", "created_at": frame.created, "status": status, "error": null,
        "incomplete_details": reason.map(|reason| json!({"reason": reason})), "instructions": null,
        "model": frame.model, "output": output, "parallel_tool_calls": true, "previous_response_id": null,
        "tool_choice": "auto", "tools": [], "usage": tokens.map(usage),
    })
}

fn item(frame: &Frame, kind: Kind, text: &str, status: &str) -> Value {
    let id = item_id(frame, kind);
    match kind {
        Kind::Reasoning => {
            json!({"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
        }
        Kind::Content => json!({
            "id": id, "type": "message", "status": status, "role": "assistant", "content": [part(kind, text)],
        }),
        Kind::ToolName(call) | Kind::ToolArguments(call) => {
            let name = frame.drafts.first().and_then(|draft| draft.calls().get(call as usize));
            let call_id = derived_id(frame, "call_", u64::from(call));
            json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name,
                "arguments": text,
            })
        }
    }
}

fn item_id(frame: &Frame, kind: Kind) -> String {
    match kind {
        Kind::Reasoning => derived_id(frame, "rs_", 1),
        Kind::Content => derived_id(frame, "msg_", 2),
        Kind::ToolName(call) | Kind::ToolArguments(call) => derived_id(frame, "fc_", 3 + u64::from(call)),
    }
}

fn part(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Reasoning => json!({"type": "summary_text", "text": text}),
        _ => json!({"type": "output_text", "text": text, "annotations": []}),
    }
}

/// Typed events, numbered.
#[derive(Debug, Default)]
pub(crate) struct ResponseEvents {
    number: u64,
    /// The item being written, and its text so far.
    open: Option<(Kind, String)>,
    /// `,"item_id":…,"output_index":…` of that item's deltas.
    place: String,
    output: Vec<Value>,
    finish: Option<Finish>,
    delta: String,
}

impl ResponseEvents {
    pub(crate) fn new(_: &Frame) -> Self {
        Self::default()
    }

    fn event(&mut self, name: &str, fields: Value, out: &mut Writer) {
        let mut event = json!({"type": name, "sequence_number": self.number});
        self.number += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        out.json(Some(name), &event);
    }

    /// An event about the open item.
    fn about_item(&mut self, frame: &Frame, kind: Kind, name: &str, fields: Value, out: &mut Writer) {
        let mut about = json!({"item_id": item_id(frame, kind), "output_index": self.output.len()});
        match kind {
            Kind::Reasoning => about["summary_index"] = 0.into(),
            Kind::Content => about["content_index"] = 0.into(),
            Kind::ToolName(_) | Kind::ToolArguments(_) => {}
        }
        if let (Value::Object(about), Value::Object(fields)) = (&mut about, fields) {
            about.extend(fields);
        }
        self.event(name, about, out);
    }

    fn begin(&mut self, frame: &Frame, kind: Kind, out: &mut Writer) {
        let mut empty = item(frame, kind, "", "in_progress");
        for list in ["content", "summary"] {
            if empty.get(list).is_some() {
                empty[list] = json!([]);
            }
        }
        let index = self.output.len();
        self.event("response.output_item.added", json!({"output_index": index, "item": empty}), out);
        if let Some(added) = names(kind).part_added {
            self.about_item(frame, kind, added, json!({"part": part(kind, "")}), out);
        }
        let inner = match kind {
            Kind::Reasoning => ",\"summary_index\":0",
            Kind::Content => ",\"content_index\":0",
            Kind::ToolName(_) | Kind::ToolArguments(_) => "",
        };
        let id = item_id(frame, kind);
        self.place = format!(",\"item_id\":\"{id}\",\"output_index\":{index}{inner},\"delta\":");
        self.open = Some((kind, String::new()));
    }

    fn end(&mut self, frame: &Frame, out: &mut Writer) {
        let Some((kind, text)) = self.open.take() else { return };
        let names = names(kind);
        let said = json!({names.text_field: text});
        self.about_item(frame, kind, names.done, said, out);
        if let Some(done) = names.part_done {
            self.about_item(frame, kind, done, json!({"part": part(kind, &text)}), out);
        }
        let item = item(frame, kind, &text, "completed");
        let index = self.output.len();
        self.event("response.output_item.done", json!({"output_index": index, "item": item.clone()}), out);
        self.output.push(item);
    }
}

struct Names {
    part_added: Option<&'static str>,
    delta: &'static str,
    done: &'static str,
    part_done: Option<&'static str>,
    text_field: &'static str,
}

fn names(kind: Kind) -> Names {
    match kind {
        Kind::Reasoning => Names {
            part_added: Some("response.reasoning_summary_part.added"),
            delta: "response.reasoning_summary_text.delta",
            done: "response.reasoning_summary_text.done",
            part_done: Some("response.reasoning_summary_part.done"),
            text_field: "text",
        },
        Kind::Content => Names {
            part_added: Some("response.content_part.added"),
            delta: "response.output_text.delta",
            done: "response.output_text.done",
            part_done: Some("response.content_part.done"),
            text_field: "text",
        },
        Kind::ToolName(_) | Kind::ToolArguments(_) => Names {
            part_added: None,
            delta: "response.function_call_arguments.delta",
            done: "response.function_call_arguments.done",
            part_done: None,
            text_field: "arguments",
        },
    }
}

impl Events for ResponseEvents {
    fn open(&mut self, frame: &Frame, out: &mut Writer) {
        for name in ["response.created", "response.in_progress"] {
            let begun = response(frame, ("in_progress", None), Vec::new(), None);
            self.event(name, json!({"response": begun}), out);
        }
    }

    fn run(&mut self, frame: &Frame, run: &Run, out: &mut Writer) -> bool {
        // A call's name is told by its item, its arguments by deltas of that item.
        let kind = if let Kind::ToolName(call) = run.kind { Kind::ToolArguments(call) } else { run.kind };
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.end(frame, out);
            self.begin(frame, kind, out);
        }
        if matches!(run.kind, Kind::ToolName(_)) {
            return false;
        }
        let name = names(kind).delta;
        self.delta.clear();
        quote(&run.text, &mut self.delta);
        let number = self.number.to_string();
        self.number += 1;
        let head = ["{\"type\":\"", name, "\",\"sequence_number\":", &number];
        out.event(Some(name), &[head[0], head[1], head[2], head[3], &self.place, &self.delta, "}"]);
        if let Some((_, text)) = &mut self.open {
            text.push_str(&run.text);
        }
        true
    }

    fn oddity(&mut self, _: &Frame, _: Oddity, _: &mut Writer) {}

    fn finish(&mut self, frame: &Frame, _: u32, finish: Finish, out: &mut Writer) {
        self.end(frame, out);
        self.finish = Some(finish);
    }

    fn filtered(&mut self, frame: &Frame, out: &mut Writer) {
        self.finish(frame, 0, Finish::ContentFilter, out);
    }

    fn error(&mut self, _: &Frame, out: &mut Writer) {
        let error = error_object();
        let fields = json!({"code": error["code"], "message": error["message"], "param": error["param"]});
        self.event("error", fields, out);
    }

    fn close(&mut self, frame: &Frame, tokens: TokenTruth, is_done: bool, out: &mut Writer) {
        if !is_done {
            return;
        }
        let ended = ended(self.finish.unwrap_or(Finish::Stop));
        let name = if ended.1.is_none() { "response.completed" } else { "response.incomplete" };
        let output = std::mem::take(&mut self.output);
        let whole = response(frame, ended, output, Some(tokens));
        self.event(name, json!({"response": whole}), out);
    }
}
