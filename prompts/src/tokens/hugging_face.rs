//! Any model's vocabulary, from the `tokenizer.json` published with it.

use super::{TokenId, Tokenizer, TokenizerError};

/// A Hugging Face tokenizer, read from a local file.
pub struct HuggingFace {
    name: String,
    tokenizer: tokenizers::Tokenizer,
}

impl HuggingFace {
    /// `json` is the file's content; `name` is what results call it.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, TokenizerError> {
        let unreadable =
            |error: tokenizers::Error| TokenizerError::Unreadable { name: name.to_owned(), reason: error.to_string() };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(unreadable)?;
        // A limit or a filling would bend the count of what is really sent, and
        // special tokens in what users say are text.
        tokenizer.with_truncation(None).map_err(unreadable)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        Ok(Self { name: name.to_owned(), tokenizer })
    }

    fn refused(&self, error: tokenizers::Error) -> TokenizerError {
        TokenizerError::Refused { name: self.name.clone(), reason: error.to_string() }
    }
}

impl Tokenizer for HuggingFace {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        // Without the tokens that begin and end a text: those are the server's template.
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| self.refused(error))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<String, TokenizerError> {
        self.tokenizer.decode(tokens, false).map_err(|error| self.refused(error))
    }

    fn count(&self, text: &str) -> Result<usize, TokenizerError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| self.refused(error))?;
        Ok(encoding.len())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A byte-level BPE whose merges make one token of each of `words`, with and
    /// without the space before it, written as GPT-2's and Llama 3's files are.
    pub(crate) fn byte_level(words: &[&str]) -> Vec<u8> {
        let mut vocabulary = serde_json::Map::new();
        let mut merges: Vec<String> = Vec::new();
        let mut add = |token: &str| {
            let id = vocabulary.len();
            vocabulary.entry(token).or_insert_with(|| id.into());
        };
        // GPT-2's alphabet: printable ASCII as it is, the space as Ġ.
        ('!'..='~').chain(['Ġ']).for_each(|c| add(&c.to_string()));
        for word in words {
            let mut chars = word.chars();
            let mut made: String = chars.by_ref().take(1).collect();
            for next in chars {
                merges.push(format!("{made} {next}"));
                made.push(next);
                add(&made);
            }
            merges.push(format!("Ġ {word}"));
            add(&format!("Ġ{word}"));
        }
        let mut seen = std::collections::BTreeSet::new();
        merges.retain(|merge| seen.insert(merge.clone()));
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let tokenizer = json!({
            "version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": null,
            "added_tokens": [{"id": 87, "content": "x", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}], "normalizer": null,
            "pre_tokenizer": level, "post_processor": null, "decoder": level,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": merges},
        });
        tokenizer.to_string().into_bytes()
    }

    #[test]
    fn a_local_file_counts_encodes_and_decodes() {
        let tokenizer = HuggingFace::from_json("tiny.json", &byte_level(&["load", "test"])).unwrap();
        assert_eq!(tokenizer.count("load test load").unwrap(), 3);
        assert_eq!(tokenizer.count("load x").unwrap(), 3);
        let tokens = tokenizer.encode("load test").unwrap();
        assert_eq!((tokens.len(), tokenizer.decode(&tokens).unwrap().as_str()), (2, "load test"));
    }

    #[test]
    fn a_limit_in_the_file_does_not_shorten_the_count() {
        let tokenizer = HuggingFace::from_json("tiny.json", &byte_level(&["load"])).unwrap();
        assert_eq!(tokenizer.count("load load load load load load").unwrap(), 6);
    }

    /// Read as the special token, it would part what merges.
    #[test]
    fn a_special_token_in_a_text_is_text() {
        let tokenizer = HuggingFace::from_json("tiny.json", &byte_level(&["axb"])).unwrap();
        assert_eq!(tokenizer.count("axb").unwrap(), 1);
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let error = HuggingFace::from_json("x.json", b"{}").map(drop).unwrap_err().to_string();
        assert!(error.contains("`x.json` cannot be read"), "{error}");
    }
}
