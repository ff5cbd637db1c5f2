//! Names of slots. They name files and stand in tables, so they are plain words.

/// What a slot may be called, for people.
pub const RULE: &str = "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at most 128";

const LONGEST: usize = 128;

/// Whether a slot may be called this.
pub fn is_name(text: &str) -> bool {
    text.len() <= LONGEST
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_directory_are_none() {
        for name in ["", ".", "..", "../x", "a/b", "a b", "-a", "a\n", "é"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"x".repeat(LONGEST + 1)));
        for name in ["local-1", "azure-eastus-1", "agent_7.b", &"x".repeat(LONGEST)] {
            assert!(is_name(name), "{name}");
        }
    }
}
