//! The form of run ids: ULIDs, 26 characters of Crockford's base 32.

/// Characters of a whole id.
pub const LENGTH: usize = 26;

/// What people may write for a run: an id or the beginning of one, in any case.
pub fn is_prefix(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() && !b"ILOU".contains(&byte.to_ascii_uppercase());
    (1..=LENGTH).contains(&text.len()) && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_their_beginnings_pass_and_nothing_else() {
        for text in ["01JD8ZK3T9QW5E6R7Y8V9X0ABC", "01jd8z", "0"] {
            assert!(is_prefix(text), "{text}");
        }
        for text in ["", "01JD8ZK3T9QW5E6R7Y8V9X0ABCD", "../../etc", "01JD8ZU", "01JD\0", "latest", "ä"] {
            assert!(!is_prefix(text), "{text}");
        }
    }
}
