//! HTTP/1.1 out of all the bytes of one direction: start lines and bodies.

/// A request or an answer.
pub struct Message {
    pub start: String,
    /// Without its framing; as much as came.
    pub body: Vec<u8>,
}

impl Message {
    /// Every message that stands in these bytes, the last one perhaps cut off.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut messages = Vec::new();
        while let Some((head, rest)) = split(bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(head).into_owned();
            let header = |name: &str| {
                let value = |line: &str| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
                };
                head.lines().find_map(value)
            };
            let (body, rest) = if header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
                of_chunks(rest)
            } else {
                let length = header("content-length").map_or(0, |length| length.parse().expect("a length in bytes"));
                let (body, rest) = rest.split_at(rest.len().min(length));
                (body.to_vec(), rest)
            };
            messages.push(Self { start: head.lines().next().unwrap_or_default().to_owned(), body });
            bytes = rest;
        }
        messages
    }
}

/// The body that these chunks hold, and what comes after the last one.
fn of_chunks(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    while let Some((size, rest)) = split(bytes, b"\r\n") {
        let size = String::from_utf8_lossy(size).into_owned();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|error| panic!("chunk size `{size}`: {error}"));
        let (chunk, rest) = rest.split_at(rest.len().min(size));
        body.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n").unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    (body, bytes)
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..place], &bytes[place + at.len()..]))
}
