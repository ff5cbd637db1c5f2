//! Writes a request's head.

use crate::http::redirect::Hop;
use crate::http::request::Request;
use http::Method;

/// What of a head the target fixes, rendered once.
#[derive(Debug, Default)]
pub(crate) struct HeadParts {
    /// Put before every path: the base path, and the origin when a proxy is asked.
    pub(crate) path_prefix: Vec<u8>,
    /// Before a path that has the base path already (a redirect's).
    pub(crate) origin_prefix: Vec<u8>,
    /// `host: …\r\n`.
    pub(crate) host_line: Vec<u8>,
    /// `accept-encoding: …\r\n` or nothing.
    pub(crate) accept_line: Vec<u8>,
    /// `proxy-authorization: …\r\n` or nothing.
    pub(crate) proxy_line: Vec<u8>,
}

/// Appends the head up to, not including, the empty line that ends it.
pub(crate) fn encode_head(out: &mut Vec<u8>, parts: &HeadParts, request: &Request, hop: Option<&Hop>) {
    let method = hop.and_then(|hop| hop.method.as_ref()).unwrap_or(&request.method);
    let drops_body = hop.is_some_and(|hop| hop.drops_body);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    match hop {
        Some(hop) => {
            out.extend_from_slice(&parts.origin_prefix);
            out.extend_from_slice(&hop.path);
        }
        None => {
            out.extend_from_slice(&parts.path_prefix);
            out.extend_from_slice(request.path());
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !request.sets.host {
        out.extend_from_slice(&parts.host_line);
    }
    for (name, value) in request.headers() {
        if drops_body && (name.starts_with(b"content-") || &name[..] == b"transfer-encoding") {
            continue;
        }
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    if !request.sets.accept_encoding {
        out.extend_from_slice(&parts.accept_line);
    }
    out.extend_from_slice(&parts.proxy_line);
    if !drops_body && !request.sets.content_length && !request.sets.transfer_encoding {
        let body_bytes = request.body_bytes();
        if body_bytes > 0 || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            push_content_length(out, body_bytes);
        }
    }
}

fn push_content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}
