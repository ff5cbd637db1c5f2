//! HTTP/1.1 on a raw stream.

mod chunked;
pub(super) mod conn;
pub(super) mod decode;
mod encode;
pub(super) mod round;

pub(super) use encode::{HeadParts, encode_head};
