//! Values in the JSON texts of bodies.

/// Makes what stands in `out` from `start` on the inside of a JSON string
/// (RFC 8259). Most values are that already and stay where they are; what is not
/// UTF-8 becomes U+FFFD, as JSON has no other bytes.
pub fn escape_json(out: &mut Vec<u8>, start: usize) {
    let mut is_ascii = true;
    let needs_it = out[start..].iter().any(|&byte| {
        is_ascii &= byte.is_ascii();
        must_be_escaped(byte)
    });
    if !needs_it && (is_ascii || std::str::from_utf8(&out[start..]).is_ok()) {
        return;
    }
    let raw = out.split_off(start);
    for byte in String::from_utf8_lossy(&raw).bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte if must_be_escaped(byte) => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.push(byte),
        }
    }
}

fn must_be_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(value: &[u8]) -> Vec<u8> {
        let mut out = b"{\"x\": \"".to_vec();
        let start = out.len();
        out.extend_from_slice(value);
        escape_json(&mut out, start);
        out.extend_from_slice(b"\"}");
        out
    }

    proptest! {
        #[test]
        fn any_text_arrives_as_it_is(text in "\\PC*|[\\x00-\\x7f]*|(?s:.*)") {
            let body: serde_json::Value = serde_json::from_slice(&escaped(text.as_bytes())).unwrap();
            prop_assert_eq!(body["x"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn any_bytes_leave_the_json_whole(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let body: serde_json::Value = serde_json::from_slice(&escaped(&bytes)).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(body["x"].as_str(), Some(&*text));
        }

        #[test]
        fn what_needs_nothing_is_not_touched(text in "[ !#-\\[\\]-~äöü€]*") {
            let mut out = text.clone().into_bytes();
            let buffer = out.as_ptr();
            escape_json(&mut out, 0);
            prop_assert_eq!((out.as_ptr(), &out[..]), (buffer, text.as_bytes()));
        }
    }
}
