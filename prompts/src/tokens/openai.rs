//! OpenAI's vocabularies, through tiktoken-rs, which carries them in the binary.

use super::{TokenId, Tokenizer, TokenizerError};
use tiktoken_rs::CoreBPE;
use tiktoken_rs::tokenizer::Tokenizer as Vocabulary;

/// One of OpenAI's vocabularies; all users of a process share one copy of each.
pub struct OpenAi {
    name: &'static str,
    bpe: &'static CoreBPE,
}

impl OpenAi {
    /// By a model's name, as OpenAI or Azure write it, or a vocabulary's own.
    pub fn of_model(model: &str) -> Result<Self, TokenizerError> {
        let vocabulary = by_name(model)
            .or_else(|| tiktoken_rs::tokenizer::get_tokenizer(model))
            .ok_or_else(|| TokenizerError::UnknownModel(model.to_owned()))?;
        let name = name_of(vocabulary);
        let bpe = tiktoken_rs::bpe_for_tokenizer(vocabulary)
            .map_err(|error| TokenizerError::Unreadable { name: name.to_owned(), reason: error.to_string() })?;
        Ok(Self { name, bpe })
    }
}

const ALL: [Vocabulary; 7] = [
    Vocabulary::O200kBase,
    Vocabulary::O200kHarmony,
    Vocabulary::Cl100kBase,
    Vocabulary::P50kBase,
    Vocabulary::P50kEdit,
    Vocabulary::R50kBase,
    Vocabulary::Gpt2,
];

fn by_name(name: &str) -> Option<Vocabulary> {
    ALL.into_iter().find(|&vocabulary| name_of(vocabulary) == name)
}

fn name_of(vocabulary: Vocabulary) -> &'static str {
    match vocabulary {
        Vocabulary::O200kBase => "o200k_base",
        Vocabulary::O200kHarmony => "o200k_harmony",
        Vocabulary::Cl100kBase => "cl100k_base",
        Vocabulary::P50kBase => "p50k_base",
        Vocabulary::P50kEdit => "p50k_edit",
        Vocabulary::R50kBase => "r50k_base",
        Vocabulary::Gpt2 => "gpt2",
    }
}

impl Tokenizer for OpenAi {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(self.bpe.encode_ordinary(text))
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<String, TokenizerError> {
        self.bpe
            .decode(tokens)
            .map_err(|error| TokenizerError::Refused { name: self.name.to_owned(), reason: error.to_string() })
    }

    fn count(&self, text: &str) -> Result<usize, TokenizerError> {
        Ok(self.bpe.count_ordinary(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn models_are_counted_by_their_own_vocabulary() {
        let name = |model| OpenAi::of_model(model).map(|tokenizer| tokenizer.name);
        assert_eq!(name("gpt-4o-mini"), Ok("o200k_base"));
        assert_eq!(name("gpt-4.1"), Ok("o200k_base"));
        assert_eq!(name("gpt-35-turbo"), Ok("cl100k_base"));
        assert_eq!(name("text-embedding-3-small"), Ok("cl100k_base"));
        assert_eq!(name("cl100k_base"), Ok("cl100k_base"));
        assert_eq!(name("llama-3"), Err(TokenizerError::UnknownModel("llama-3".to_owned())));
    }

    /// From OpenAI's own notebook on counting tokens (openai-cookbook,
    /// `How_to_count_tokens_with_tiktoken.ipynb`).
    #[test]
    fn known_texts_have_their_known_tokens() {
        let cl100k = OpenAi::of_model("cl100k_base").unwrap();
        assert_eq!(cl100k.encode("tiktoken is great!").unwrap(), [83, 1609, 5963, 374, 2294, 0]);
        let o200k = OpenAi::of_model("o200k_base").unwrap();
        assert_eq!(o200k.encode("tiktoken is great!").unwrap(), [83, 8251, 2488, 382, 2212, 0]);
    }

    #[test]
    fn a_special_token_in_a_text_is_text() {
        let o200k = OpenAi::of_model("gpt-4o").unwrap();
        assert!(o200k.count("<|endoftext|>").unwrap() > 1);
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_and_counts_the_same(text in any::<String>()) {
            let o200k = OpenAi::of_model("gpt-4o").unwrap();
            let tokens = o200k.encode(&text).unwrap();
            prop_assert_eq!(tokens.len(), o200k.count(&text).unwrap());
            prop_assert_eq!(o200k.decode(&tokens).unwrap(), text);
        }
    }
}
