//! Tokenizers for tests that need none of the real ones.

use super::{TokenId, Tokenizer, TokenizerError};

/// One token a word, numbered by its length. Refuses NUL.
pub(crate) struct Words;

impl Tokenizer for Words {
    fn name(&self) -> &str {
        "words"
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        if text.contains('\0') {
            return Err(TokenizerError::Refused { name: "words".to_owned(), reason: "NUL".to_owned() });
        }
        Ok(text.split_whitespace().map(|word| word.len() as TokenId).collect())
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<String, TokenizerError> {
        Ok(tokens.iter().map(|&length| "x".repeat(length as usize)).collect::<Vec<_>>().join(" "))
    }
}

/// One token a character, so that no word is one.
pub(crate) struct Characters;

impl Tokenizer for Characters {
    fn name(&self) -> &str {
        "characters"
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(text.chars().map(TokenId::from).collect())
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<String, TokenizerError> {
        Ok(tokens.iter().filter_map(|&token| char::from_u32(token)).collect())
    }
}
