//! Text of an exact number of tokens, without asking the tokenizer each time.
//!
//! When a source is built, common words are tried on its tokenizer, and those are
//! kept that stay one token each whatever stands beside them. Any sequence of them,
//! joined by spaces, then has as many tokens as words, and making a prompt is
//! copying text.

use crate::tokens::TokenCounter;
use squall_common::random::{Random, mix};

/// Part of what a seed means: append, never reorder.
static CANDIDATES: &str = include_str!("words.txt");

/// Each word is tried beside all kept before it, which grows with the square.
const ENOUGH: usize = 256;
/// With fewer, beginnings would too often be alike.
const TOO_FEW: usize = 16;
/// The text that prompts are cut from. About 160 KiB.
const CORPUS_WORDS: usize = 1 << 15;
/// The words at the beginning of each text that are drawn one by one: with at
/// least 16 to choose from, two texts begin alike once in 2^64.
const HEAD_WORDS: usize = 16;

/// Words that count as one token each, and a text made of them.
pub struct Words {
    words: Vec<&'static str>,
    corpus: Vec<u8>,
    /// Where each word of the corpus begins, and the end of the last. A space follows each word.
    starts: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{tokenizer}` makes one token each of only {kept} of {tried} common words, \
     so prompts of exact length cannot be made for it: use another tokenizer, or the estimate"
)]
pub struct NoWords {
    tokenizer: String,
    kept: usize,
    tried: usize,
}

impl Words {
    /// Tries the candidates on `counter`: some hundred thousand tokens of work,
    /// once for each source.
    pub fn new(counter: &TokenCounter) -> Result<Self, NoWords> {
        let mut kept: Vec<&'static str> = Vec::new();
        let mut tried = 0;
        for word in CANDIDATES.split_ascii_whitespace() {
            if kept.len() == ENOUGH {
                break;
            }
            tried += 1;
            if !kept.contains(&word) && is_one_token_beside(word, &kept, counter) {
                kept.push(word);
            }
        }
        if kept.len() < TOO_FEW {
            return Err(NoWords { tokenizer: counter.name().to_owned(), kept: kept.len(), tried });
        }
        Ok(Self::of(kept))
    }

    fn of(words: Vec<&'static str>) -> Self {
        let mut random = Random::at(0, &[words.len() as u64]);
        let (mut corpus, mut starts) = (Vec::new(), Vec::with_capacity(CORPUS_WORDS + 1));
        for _ in 0..CORPUS_WORDS {
            starts.push(corpus.len() as u32);
            corpus.extend_from_slice(words[random.below(words.len() as u64) as usize].as_bytes());
            corpus.push(b' ');
        }
        starts.push(corpus.len() as u32);
        Self { words, corpus, starts }
    }

    /// Appends the text named by `key`, of exactly `tokens` tokens: the same for
    /// ever for the same key, and another for another from the first words on.
    /// Lower-case letters and single spaces only, so that it stands in JSON as it is.
    pub fn write(&self, into: &mut Vec<u8>, tokens: u32, key: u64) {
        let tokens = tokens as usize;
        let before = into.len();
        let head = tokens.min(HEAD_WORDS);
        into.reserve(tokens * 6);
        let mut random = Random::at(key, &[0]);
        for _ in 0..head {
            into.extend_from_slice(self.words[random.below(self.words.len() as u64) as usize].as_bytes());
            into.push(b' ');
        }
        let mut at = (mix(key, &[1]) % CORPUS_WORDS as u64) as usize;
        let mut left = tokens - head;
        while left > 0 {
            let take = left.min(CORPUS_WORDS - at);
            into.extend_from_slice(&self.corpus[self.starts[at] as usize..self.starts[at + take] as usize]);
            left -= take;
            at = 0;
        }
        if into.len() > before {
            into.pop();
        }
    }
}

/// Whether `word` adds one token before, after and between all of `kept`, and itself.
fn is_one_token_beside(word: &str, kept: &[&str], counter: &TokenCounter) -> bool {
    const ALONE: usize = 8;
    if counter.count(word).tokens != 1 {
        return false;
    }
    let alone = [word; ALONE].join(" ");
    if counter.count(&alone).tokens as usize != ALONE {
        return false;
    }
    let mut beside = word.to_owned();
    for other in kept {
        beside.push(' ');
        beside.push_str(other);
        beside.push(' ');
        beside.push_str(word);
    }
    let counted = counter.count(&beside);
    counted.exact == counter.is_exact() && counted.tokens as usize == 2 * kept.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::testing;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn text(words: &Words, tokens: u32, key: u64) -> String {
        let mut text = Vec::new();
        words.write(&mut text, tokens, key);
        String::from_utf8(text).unwrap()
    }

    proptest! {
        #[test]
        fn a_text_is_as_long_as_the_estimate_says(tokens in 0u32..100_000, key in any::<u64>()) {
            let words = Words::new(&TokenCounter::Estimate).unwrap();
            prop_assert_eq!(TokenCounter::Estimate.count(&text(&words, tokens, key)).tokens, tokens);
        }
    }

    #[cfg(feature = "tiktoken")]
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_text_is_exactly_as_long_as_tiktoken_says(tokens in 0u32..4_000, key in any::<u64>(), newer in any::<bool>()) {
            let counter = TokenCounter::open_ai(if newer { "o200k_base" } else { "cl100k_base" }).unwrap();
            let words = Words::new(&counter).unwrap();
            let text = text(&words, tokens, key);
            prop_assert_eq!(counter.tokenizer().unwrap().encode(&text).unwrap().len(), tokens as usize);
        }
    }

    #[cfg(feature = "hf")]
    #[test]
    fn a_text_is_exactly_as_long_as_a_tokenizer_file_says() {
        let known: Vec<&str> = CANDIDATES.split_ascii_whitespace().take(40).collect();
        let json = crate::tokens::hugging_face_tests::byte_level(&known);
        let counter = TokenCounter::tokenizer_json("tiny.json", &json).unwrap();
        let words = Words::new(&counter).unwrap();
        for tokens in [1, 15, 16, 17, 1_000, 40_000] {
            let counted = counter.count(&text(&words, tokens, u64::from(tokens)));
            assert_eq!((counted.tokens, counted.exact), (tokens, true));
        }
    }

    #[test]
    fn texts_of_different_keys_part_in_their_first_words() {
        let words = Words::new(&TokenCounter::Exact(Arc::new(testing::Words))).unwrap();
        let heads: std::collections::BTreeSet<String> = (0..10_000)
            .map(|key| text(&words, 100, key).split(' ').take(HEAD_WORDS).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(heads.len(), 10_000);
    }

    #[test]
    fn a_key_names_the_same_text_for_ever() {
        let words = Words::new(&TokenCounter::Estimate).unwrap();
        assert_eq!(text(&words, 20, 7), text(&words, 20, 7));
        assert!(text(&words, 30, 7).starts_with(&text(&words, 16, 7)));
        assert!(text(&words, 2_000, 7).bytes().all(|b| b == b' ' || b.is_ascii_lowercase()));
    }

    #[test]
    fn a_vocabulary_without_words_is_refused_with_what_to_do() {
        let error = Words::new(&TokenCounter::Exact(Arc::new(testing::Characters))).map(drop).unwrap_err().to_string();
        assert!(error.contains("`characters`") && error.contains("the estimate"), "{error}");
    }
}
