//! One prompt, as the bytes that a request body takes in as they are.

use crate::tokens::TokenCount;
use bytes::Bytes;
use serde_json::Value;
use squall_common::plan::prompts::Role;
use std::ops::Range;

/// What one request asks. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    messages: Bytes,
    input: Input,
    tokens: TokenCount,
    max_tokens: Option<u32>,
    prefix: Option<u32>,
}

/// Where the prompt as a single text is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Input {
    Apart(Bytes),
    /// Put together from `messages` when it is asked for.
    Parsed,
    /// The places in `messages` of the JSON strings that make it up, quotes included.
    Within {
        system: Option<Range<usize>>,
        user: Range<usize>,
    },
}

impl Prompt {
    /// The value of `messages` in a chat request: a JSON array, compact.
    pub fn messages_json(&self) -> &Bytes {
        &self.messages
    }

    /// The prompt as one JSON string, for `prompt` (completions) and `input`
    /// (embeddings): the texts of its messages, joined by line breaks where they
    /// are given, and by a space where they are made up.
    pub fn input_json(&self) -> Bytes {
        match &self.input {
            Input::Apart(input) => input.clone(),
            Input::Parsed => joined_contents(&self.messages),
            Input::Within { system: None, user } => self.messages.slice(user.clone()),
            Input::Within { system: Some(system), user } => {
                let mut joined = Vec::with_capacity(system.len() + user.len());
                joined.extend_from_slice(&self.messages[system.start..system.end - 1]);
                joined.push(b' ');
                joined.extend_from_slice(&self.messages[user.start + 1..user.end]);
                joined.into()
            }
        }
    }

    /// Tokens of the contents, without what a server's chat template adds.
    pub fn tokens(&self) -> TokenCount {
        self.tokens
    }

    /// The longest answer to ask for; `None` leaves it to the server.
    pub fn max_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    /// Which shared prefix it begins with: 0 is the most popular.
    pub fn prefix(&self) -> Option<u32> {
        self.prefix
    }

    pub(crate) fn given(messages: Bytes, input: Bytes, tokens: TokenCount) -> Self {
        Self { messages, input: Input::Apart(input), tokens, max_tokens: None, prefix: None }
    }

    /// Conversations are for chat: their single text is made only if it is asked for.
    pub(crate) fn of_conversation(
        messages: Bytes,
        tokens: TokenCount,
        max_tokens: Option<u32>,
        prefix: Option<u32>,
    ) -> Self {
        Self { messages, input: Input::Parsed, tokens, max_tokens, prefix }
    }

    pub(crate) fn with_max_tokens(mut self, max_tokens: Option<u32>) -> Self {
        self.max_tokens = max_tokens;
        self
    }
}

/// Writes a prompt of made-up texts straight into its JSON.
#[derive(Default)]
pub(crate) struct PromptWriter {
    messages: Vec<u8>,
    system: Option<Range<usize>>,
    user: Range<usize>,
    prefix: Option<u32>,
}

impl PromptWriter {
    /// `write` appends text that JSON strings hold unescaped.
    pub(crate) fn system(&mut self, prefix: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.prefix = Some(prefix);
        self.system = Some(self.message(Role::System, write));
    }

    /// `write` as in [`system`](Self::system).
    pub(crate) fn user(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.user = self.message(Role::User, write);
    }

    fn message(&mut self, role: Role, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        self.messages.push(if self.messages.is_empty() { b'[' } else { b',' });
        open_message(&mut self.messages, role);
        let start = self.messages.len();
        self.messages.push(b'"');
        write(&mut self.messages);
        self.messages.push(b'"');
        let content = start..self.messages.len();
        self.messages.push(b'}');
        content
    }

    pub(crate) fn finish(mut self, tokens: TokenCount, max_tokens: Option<u32>) -> Prompt {
        self.messages.push(b']');
        let input = Input::Within { system: self.system, user: self.user };
        Prompt { messages: self.messages.into(), input, tokens, max_tokens, prefix: self.prefix }
    }
}

fn joined_contents(messages: &[u8]) -> Bytes {
    let messages: Vec<Value> = serde_json::from_slice(messages).unwrap_or_default();
    let texts: Vec<&str> = messages.iter().filter_map(|message| message.get("content")?.as_str()).collect();
    let mut input = Vec::new();
    write_string(&mut input, &texts.join("\n"));
    input.into()
}

fn open_message(into: &mut Vec<u8>, role: Role) {
    into.extend_from_slice(b"{\"role\":\"");
    into.extend_from_slice(role.word().as_bytes());
    into.extend_from_slice(b"\",\"content\":");
}

/// Appends one message with any text in it.
pub(crate) fn write_message(into: &mut Vec<u8>, role: Role, content: &str) {
    open_message(into, role);
    write_string(into, content);
    into.push(b'}');
}

/// Appends `text` as a JSON string.
pub(crate) fn write_string(into: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(into, text).expect("a Vec takes every write, and JSON every text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn made(prefix: Option<&str>) -> Prompt {
        let mut writer = PromptWriter::default();
        if let Some(prefix) = prefix {
            writer.system(3, |text| text.extend_from_slice(prefix.as_bytes()));
        }
        writer.user(|text| text.extend_from_slice(b"any one"));
        writer.finish(TokenCount { tokens: 4, exact: true }, Some(9))
    }

    fn parsed(json: &[u8]) -> Value {
        serde_json::from_slice(json).unwrap()
    }

    #[test]
    fn made_up_texts_stand_in_messages_and_in_one_input() {
        let alone = made(None);
        assert_eq!(parsed(alone.messages_json()), json!([{"role": "user", "content": "any one"}]));
        assert_eq!(parsed(&alone.input_json()), json!("any one"));
        let prefixed = made(Some("the old"));
        let both = json!([{"role": "system", "content": "the old"}, {"role": "user", "content": "any one"}]);
        assert_eq!(parsed(prefixed.messages_json()), both);
        assert_eq!(parsed(&prefixed.input_json()), json!("the old any one"));
        assert_eq!((alone.prefix(), prefixed.prefix(), prefixed.max_tokens()), (None, Some(3), Some(9)));
    }

    proptest! {
        #[test]
        fn any_text_stands_in_a_message_as_it_is(text in any::<String>()) {
            let mut message = Vec::new();
            write_message(&mut message, Role::Assistant, &text);
            prop_assert_eq!(parsed(&message), json!({"role": "assistant", "content": text}));
        }
    }
}
