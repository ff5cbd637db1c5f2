//! Legacy completions: a field `text`, and no role.

use serde_json::{Value, json};

use super::chat::{prompt_filter_results, severities, usage, write_prompt_filter};
use super::draft::{Finish, Kind};
use super::events::{Events, Frame, Oddity, Run, error_object};
use super::sse::{Writer, quote};
use super::truth::TokenTruth;

/// The answer that is not streamed.
pub(crate) fn whole(frame: &Frame, tokens: TokenTruth) -> Value {
    let choices = frame.drafts.iter().enumerate().map(|(index, draft)| {
        let text = draft.whole(Kind::Content);
        json!({"text": text, "index": index, "logprobs": null, "finish_reason": draft.finish.name()})
    });
    let mut answer = json!({
        "id": frame.id, "object": "text_completion", "created": frame.created, "model": frame.model,
        "choices": choices.collect::<Vec<_>>(), "usage": usage(tokens),
    });
    if frame.is_azure {
        answer["prompt_filter_results"] = prompt_filter_results();
    }
    answer
}

/// Chunks of a completion.
#[derive(Debug)]
pub(crate) struct CompletionEvents {
    head: String,
    tail: &'static str,
    middle: String,
}

impl CompletionEvents {
    pub(crate) fn new(frame: &Frame) -> Self {
        let fields = json!({
            "id": frame.id, "object": "text_completion", "created": frame.created, "model": frame.model,
        });
        let mut head = fields.to_string();
        head.truncate(head.len() - 1);
        let tail = if frame.include_usage { ",\"usage\":null}" } else { "}" };
        Self { head, tail, middle: String::new() }
    }

    fn text(&mut self, choice: u32, text: &str, finish: Option<Finish>, out: &mut Writer) {
        let middle = &mut self.middle;
        middle.clear();
        middle.push_str(",\"choices\":[{\"text\":");
        quote(text, middle);
        middle.push_str(",\"index\":");
        middle.push_str(&choice.to_string());
        middle.push_str(",\"logprobs\":null,\"finish_reason\":");
        match finish {
            None => middle.push_str("null"),
            Some(finish) => quote(finish.name(), middle),
        }
        middle.push_str("}]");
        out.event(None, &[&self.head, middle, self.tail]);
    }
}

impl Events for CompletionEvents {
    fn open(&mut self, frame: &Frame, out: &mut Writer) {
        if frame.is_azure {
            write_prompt_filter(out);
        }
    }

    fn run(&mut self, _: &Frame, run: &Run, out: &mut Writer) -> bool {
        self.text(run.choice, &run.text, None, out);
        true
    }

    fn oddity(&mut self, _: &Frame, oddity: Oddity, out: &mut Writer) {
        match oddity {
            Oddity::NoChoices => out.event(None, &[&self.head, ",\"choices\":[]", self.tail]),
            Oddity::Annotation(choice) => {
                let annotation = json!({
                    "text": "", "index": choice, "finish_reason": null, "content_filter_results": severities(false),
                });
                out.event(None, &[&self.head, ",\"choices\":[", &annotation.to_string(), "]", self.tail]);
            }
            Oddity::NoDelta => {}
        }
    }

    fn finish(&mut self, _: &Frame, choice: u32, finish: Finish, out: &mut Writer) {
        self.text(choice, "", Some(finish), out);
    }

    fn filtered(&mut self, frame: &Frame, out: &mut Writer) {
        for choice in 0..frame.drafts.len() as u32 {
            self.text(choice, "", Some(Finish::ContentFilter), out);
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
