//! Bodies without what stood in them: equal strings stay equal, and what they were
//! is known only to who has the key.
//!
//! In a JSON body every string becomes its hash, names of members only where
//! they look like data; numbers, booleans and the shape stay, which is what an
//! error is told from another by. Any other body becomes one hash.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use squall_common::plan::Pseudonyms;

use crate::secrets::Secrets;

/// Shorter keys can be tried out.
const KEY_BYTES: usize = 16;
/// Of the hash, in hexadecimal: 96 bits.
const SHOWN: usize = 24;
/// A member's name that is longer is data.
const NAME_BYTES: usize = 40;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    #[error("the key of `keep_errors` has {0} bytes; store at least {KEY_BYTES}, e.g. `openssl rand -hex 32`")]
    Short(usize),
    #[error("the system gives no random key for `keep_errors`")]
    NoRandom,
}

/// Replaces strings, always the same by the same.
pub struct Pseudonymiser {
    key: hmac::Key,
}

impl Pseudonymiser {
    pub fn new(by: Pseudonyms, secrets: &Secrets) -> Result<Self, NoKey> {
        let key = match by {
            Pseudonyms::Keyed(id) => secrets.values()[usize::from(id.0)].to_vec(),
            Pseudonyms::Random => {
                let mut key = [0; 32];
                SystemRandom::new().fill(&mut key).map_err(|_| NoKey::NoRandom)?;
                key.to_vec()
            }
        };
        if key.len() < KEY_BYTES {
            return Err(NoKey::Short(key.len()));
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    /// The body, told with pseudonyms; `whole`: nothing of it was cut off.
    pub fn body(&self, text: &str, whole: bool) -> String {
        match serde_json::from_str(text) {
            Ok(json) if whole => self.json(json).to_string(),
            _ => self.string(text),
        }
    }

    fn json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.string(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (self.name(name), self.json(value))).collect()
            }
            other => other,
        }
    }

    fn name(&self, name: String) -> String {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'-');
        if is_word && name.len() <= NAME_BYTES { name } else { self.string(&name) }
    }

    fn string(&self, text: &str) -> String {
        let tag = hmac::sign(&self.key, text.as_bytes());
        let hex: String = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]).take(SHOWN).map(digit).collect();
        format!("hmac:{hex}")
    }
}

fn digit(nibble: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(nibble)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_common::plan::{SecretId, SecretSource};

    fn keyed(name: &str, key: &str) -> Result<Pseudonymiser, NoKey> {
        let path = std::env::temp_dir().join(format!("squall-pseudonym-{name}-{}", std::process::id()));
        std::fs::write(&path, key).unwrap();
        let secrets = Secrets::read(&[SecretSource::File(path.display().to_string())], vec![false]).unwrap();
        std::fs::remove_file(&path).unwrap();
        Pseudonymiser::new(Pseudonyms::Keyed(SecretId(0)), &secrets)
    }

    /// The hash is HMAC-SHA256 as RFC 2104 has it: `printf Ann | openssl dgst -sha256 -hmac KEY`.
    #[test]
    fn strings_of_json_become_their_hash_and_the_rest_stays() {
        let by = keyed("json", "0123456789abcdef").unwrap();
        let body = r#"{"error":{"code":429,"user":"Ann","ann@example.com":["Ann",null,true]}}"#;
        let told: Value = serde_json::from_str(&by.body(body, true)).unwrap();
        assert_eq!(told["error"]["code"], 429);
        assert_eq!(told["error"]["user"], "hmac:993bf55a4da782513aed2f25");
        let members: Vec<&String> = told["error"].as_object().unwrap().keys().collect();
        assert!(members.iter().any(|name| name.starts_with("hmac:")) && !members.iter().any(|name| name.contains('@')));
        let list = members.iter().find(|name| name.starts_with("hmac:")).unwrap();
        assert_eq!(told["error"][list.as_str()], serde_json::json!(["hmac:993bf55a4da782513aed2f25", null, true]));
    }

    #[test]
    fn what_is_no_whole_json_is_one_hash() {
        let by = keyed("text", "0123456789abcdef").unwrap();
        assert_eq!(by.body("Ann", true), "hmac:993bf55a4da782513aed2f25");
        let cut = by.body(r#"{"user":"Ann"}"#, false);
        assert!(cut.starts_with("hmac:") && cut.len() == 5 + SHOWN, "{cut}");
    }

    #[test]
    fn another_key_gives_other_hashes_and_a_short_one_is_refused() {
        let random = || Pseudonymiser::new(Pseudonyms::Random, &Secrets::read(&[], vec![]).unwrap()).unwrap();
        let (one, other) = (random(), random());
        assert_eq!(one.body("Ann", true), one.body("Ann", true));
        assert_ne!(one.body("Ann", true), other.body("Ann", true));
        assert!(keyed("short", "short").err().unwrap().to_string().contains("has 5 bytes"));
    }
}
