//! How many tokens a text is, and by whose count.
//!
//! Servers bill by their own tokenizer, and what they report (`usage`) goes
//! before anything counted here. Only contents are counted: the few tokens that
//! a server's chat template puts around each message are its own affair.

#[cfg(feature = "hf")]
mod hugging_face;
#[cfg(feature = "tiktoken")]
mod openai;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(all(test, feature = "hf"))]
pub(crate) use hugging_face::tests as hugging_face_tests;

#[cfg(feature = "hf")]
pub use hugging_face::HuggingFace;
#[cfg(feature = "tiktoken")]
pub use openai::OpenAi;

use squall_common::plan::prompts::TokenizerChoice;
use std::fmt;
use std::sync::Arc;

/// One token, as the vocabulary numbers it.
pub type TokenId = u32;

/// A vocabulary and the way to split text by it. Special tokens written in a
/// text are text: that is how servers read what users say.
pub trait Tokenizer: Send + Sync {
    /// Names the vocabulary in results, e.g. `o200k_base`.
    fn name(&self) -> &str;

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError>;

    fn decode(&self, tokens: &[TokenId]) -> Result<String, TokenizerError>;

    /// The length of [`encode`](Self::encode), where that is cheaper to find out.
    fn count(&self, text: &str) -> Result<usize, TokenizerError> {
        Ok(self.encode(text)?.len())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    #[error("no vocabulary is known for the model `{0}`: name one, e.g. `o200k_base` or `cl100k_base`")]
    UnknownModel(String),
    #[error("this build cannot use {wanted}: it was made without the feature `{feature}`")]
    NotBuiltIn { wanted: String, feature: &'static str },
    #[error("the tokenizer `{name}` cannot be read: {reason}")]
    Unreadable { name: String, reason: String },
    #[error("the tokenizer `{name}` refused: {reason}")]
    Refused { name: String, reason: String },
}

/// What counts tokens. Cheap to clone; results state it by its [`name`](Self::name).
#[derive(Clone, Default)]
pub enum TokenCounter {
    /// Characters divided by four, rounded up: what English text in GPT's
    /// vocabularies comes to, within some ten percent. Code, other languages and
    /// other vocabularies are further off.
    #[default]
    Estimate,
    Exact(Arc<dyn Tokenizer>),
}

/// A count, and whether a real tokenizer made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    pub tokens: u32,
    pub exact: bool,
}

impl TokenCounter {
    /// What the plan asks for.
    pub fn from_choice(choice: &TokenizerChoice) -> Result<Self, TokenizerError> {
        match choice {
            TokenizerChoice::Estimate => Ok(Self::Estimate),
            TokenizerChoice::OpenAi(model) => Self::open_ai(model),
            TokenizerChoice::File(file) => Self::tokenizer_json(&file.name, &file.bytes),
        }
    }

    /// By a model's name (`gpt-4o-mini`) or a vocabulary's (`o200k_base`).
    /// The first use of a vocabulary takes some 0.2 s, once in a process.
    #[cfg(feature = "tiktoken")]
    pub fn open_ai(model: &str) -> Result<Self, TokenizerError> {
        Ok(Self::Exact(Arc::new(OpenAi::of_model(model)?)))
    }

    #[cfg(not(feature = "tiktoken"))]
    pub fn open_ai(model: &str) -> Result<Self, TokenizerError> {
        Err(TokenizerError::NotBuiltIn { wanted: format!("the vocabulary of `{model}`"), feature: "tiktoken" })
    }

    /// From the content of a Hugging Face `tokenizer.json`; `name` is what
    /// results call it.
    #[cfg(feature = "hf")]
    pub fn tokenizer_json(name: &str, json: &[u8]) -> Result<Self, TokenizerError> {
        Ok(Self::Exact(Arc::new(HuggingFace::from_json(name, json)?)))
    }

    #[cfg(not(feature = "hf"))]
    pub fn tokenizer_json(name: &str, _json: &[u8]) -> Result<Self, TokenizerError> {
        Err(TokenizerError::NotBuiltIn { wanted: format!("`{name}`"), feature: "hf" })
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Estimate => "estimate (characters / 4)",
            Self::Exact(tokenizer) => tokenizer.name(),
        }
    }

    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// A text that the tokenizer refuses is estimated, and says so.
    pub fn count(&self, text: &str) -> TokenCount {
        if let Self::Exact(tokenizer) = self
            && let Ok(tokens) = tokenizer.count(text)
        {
            return TokenCount { tokens: saturate(tokens), exact: true };
        }
        TokenCount { tokens: saturate(text.chars().count().div_ceil(4)), exact: false }
    }

    /// `None` for the estimate, which has no tokens of its own.
    pub fn tokenizer(&self) -> Option<&dyn Tokenizer> {
        match self {
            Self::Estimate => None,
            Self::Exact(tokenizer) => Some(tokenizer.as_ref()),
        }
    }
}

impl fmt::Debug for TokenCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCounter({})", self.name())
    }
}

impl TokenCount {
    /// Both together: as exact as the less exact of them.
    pub fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), exact: self.exact && other.exact }
    }
}

impl std::iter::Sum for TokenCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self { tokens: 0, exact: true }, Self::plus)
    }
}

fn saturate(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_counts_characters_not_bytes() {
        let counter = TokenCounter::Estimate;
        let estimated = |tokens| TokenCount { tokens, exact: false };
        assert_eq!(counter.count(""), estimated(0));
        assert_eq!(counter.count("abcd"), estimated(1));
        assert_eq!(counter.count("abcde"), estimated(2));
        assert_eq!(counter.count("äöüß"), estimated(1));
        assert!(!counter.is_exact() && counter.tokenizer().is_none());
    }

    #[test]
    fn a_sum_is_as_exact_as_its_least_exact_part() {
        let of = |tokens, exact| TokenCount { tokens, exact };
        assert_eq!([of(2, true), of(3, true)].into_iter().sum::<TokenCount>(), of(5, true));
        assert_eq!([of(2, true), of(3, false)].into_iter().sum::<TokenCount>(), of(5, false));
        assert_eq!([of(u32::MAX, true), of(3, true)].into_iter().sum::<TokenCount>().tokens, u32::MAX);
    }

    #[test]
    fn a_text_the_tokenizer_refuses_is_estimated_and_says_so() {
        let counter = TokenCounter::Exact(Arc::new(testing::Words));
        assert_eq!(counter.count("one two"), TokenCount { tokens: 2, exact: true });
        assert_eq!(counter.count("\u{0}abcdefg"), TokenCount { tokens: 2, exact: false });
    }

    #[cfg(not(feature = "tiktoken"))]
    #[test]
    fn a_tokenizer_that_was_not_built_in_names_its_feature() {
        let error = TokenCounter::open_ai("gpt-4o").unwrap_err().to_string();
        assert!(error.contains("`gpt-4o`") && error.contains("`tiktoken`"), "{error}");
    }

    #[cfg(not(feature = "hf"))]
    #[test]
    fn a_tokenizer_file_without_the_feature_names_it() {
        let error = TokenCounter::tokenizer_json("llama.json", b"{}").unwrap_err().to_string();
        assert!(error.contains("llama.json") && error.contains("`hf`"), "{error}");
    }
}
