//! What targets answer.

use squall_agent::http::{CookieJar, foreign};

/// The first byte says where the rest is cut in two, which must not matter.
pub fn http1_response(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let cut = usize::from(cut).min(bytes.len());
    let whole = foreign::read_http1(&[bytes]);
    let in_two = foreign::read_http1(&[&bytes[..cut], &bytes[cut..]]);
    assert_eq!(whole, in_two, "cut after {cut} bytes");
}

/// The first byte picks the coding.
pub fn coded_body(bytes: &[u8]) {
    let Some((&coding, bytes)) = bytes.split_first() else { return };
    if let Ok(decoded) = foreign::decode_body(coding, bytes) {
        assert!(decoded <= foreign::DECODED_MAX, "{decoded} bytes");
    }
}

/// Values of `set-cookie`, one a line; the host and path of the request come first.
pub fn set_cookie(bytes: &[u8]) {
    const NOW_NS: u64 = 1_000_000_000;
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let (host, path) = (text(), text());
    let mut jar = CookieJar::new();
    jar.store(lines, host, path, NOW_NS);
    for (host, path) in [(host, path), ("localhost", "/")] {
        let mut sent = Vec::new();
        jar.header_for(host, path, true, NOW_NS, &mut sent);
        assert!(!sent.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a cookie that splits the head");
    }
}

/// The path asked for, a line break, and a `location`.
pub fn location(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|&byte| byte == b'\n') else { return };
    let (path_now, location) = (&bytes[..at], &bytes[at + 1..]);
    let splits_head = |path: &[u8]| path.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    // The path asked for is our own: it is of the plan, or went through here before.
    if !path_now.starts_with(b"/") || splits_head(path_now) {
        return;
    }
    if let Some(path) = foreign::redirected_path("http://localhost:8080", path_now, location) {
        assert!(path.starts_with(b"/") && !splits_head(&path), "{}", path.escape_ascii());
    }
}
