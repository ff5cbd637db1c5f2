//! Prompts as text and their length in tokens, estimated as Azure estimates
//! on arrival: four characters a token, four tokens for each message's frame.

use serde_json::Value;

/// Characters a token stands for.
pub(crate) const TOKEN_CHARS: usize = 4;
/// Characters of the frame around a message.
const FRAME_CHARS: usize = 16;

/// One prompt; `TOKEN_CHARS` characters of its text are a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) text: String,
}

impl Prompt {
    /// A conversation: for each message its frame, then its content.
    pub(crate) fn of_messages(messages: &[Value]) -> Self {
        let mut prompt = Self::default();
        for message in messages {
            let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
            let role: String = role.chars().take(FRAME_CHARS).collect();
            prompt.text.push_str(&format!("{role:<FRAME_CHARS$}"));
            prompt.push(message.get("content").unwrap_or(&Value::Null));
        }
        prompt
    }

    /// Bare text, or token numbers, which stand for `TOKEN_CHARS` characters each.
    pub(crate) fn of_text_or_tokens(input: &Value) -> Option<Self> {
        match input {
            Value::String(text) => Some(Self { text: text.clone() }),
            Value::Array(tokens) => {
                let each = tokens.iter().map(|token| token.as_u64().map(|token| format!("{:04x}", token % (1 << 16))));
                Some(Self { text: each.collect::<Option<String>>()? })
            }
            _ => None,
        }
    }

    /// One prompt, or a list of them, as completions and embeddings take them.
    pub(crate) fn list_of(input: &Value) -> Option<Vec<Self>> {
        match input {
            Value::Array(items) if !items.iter().all(Value::is_number) => {
                items.iter().map(Self::of_text_or_tokens).collect()
            }
            Value::Array(items) if items.is_empty() => None,
            one => Some(vec![Self::of_text_or_tokens(one)?]),
        }
    }

    /// Content is a string, or parts with a text each.
    fn push(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.text.push_str(text),
            Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")).for_each(|text| self.push(text)),
            _ => {}
        }
    }

    /// Names the text.
    pub(crate) fn hash(&self) -> u64 {
        self.text
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
    }

    pub(crate) fn tokens(&self) -> u32 {
        u32::try_from(self.text.chars().count().div_ceil(TOKEN_CHARS)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_its_characters_by_four_and_a_frame_of_four_tokens() {
        let hello = json!({"role": "user", "content": "Hello"});
        assert_eq!(Prompt::of_messages(std::slice::from_ref(&hello)).tokens(), 6);
        let parts = json!({"role": "user", "content": [{"type": "text", "text": "Hello, sea"}]});
        assert_eq!(Prompt::of_messages(&[hello, parts]).tokens(), 12, "32 + 15 characters by four");
    }

    #[test]
    fn inputs_are_texts_or_token_numbers_or_lists_of_either() {
        let tokens =
            |input: Value| Prompt::list_of(&input).map(|list| list.iter().map(Prompt::tokens).collect::<Vec<_>>());
        assert_eq!(tokens(json!("12345")), Some(vec![2]));
        assert_eq!(tokens(json!(["1234", "12345678"])), Some(vec![1, 2]));
        assert_eq!(tokens(json!([1, 2, 3])), Some(vec![3]));
        assert_eq!(tokens(json!([[1, 2], [3]])), Some(vec![2, 1]));
        assert_eq!(tokens(json!({"no": 1})), None);
        assert_eq!(tokens(json!([])), None);
    }
}
