//! Undoes content codings, after the last byte's time was taken.

use super::facts::Coding;
use super::failure::Failure;
use super::response::Response;
use squall_common::plan::ContentCoding;
use squall_common::sample::Outcome;
use std::io::{self, Read};

/// A body that decodes to more is refused: a few kilobytes can hold gigabytes.
pub const DECODED_MAX: u64 = 64 << 20;

/// Decodes `response.coded`; returns the decoded length. Keeps the bytes if `keep`.
pub(super) fn decode(coding: Coding, response: &mut Response, keep: bool) -> Result<u64, Failure> {
    let Coding::Known(coding) = coding else {
        return Err(Failure::new(Outcome::Protocol, "the body has a content coding that was not asked for"));
    };
    let coded = std::mem::take(&mut response.coded);
    let mut decoded = 0;
    let result = pour(coding, &coded, |bytes| {
        decoded += bytes.len() as u64;
        if keep {
            response.keep_body(bytes);
        }
        if decoded > DECODED_MAX { Err(io::Error::other("it decodes to more than 64 MiB")) } else { Ok(()) }
    });
    response.coded = coded;
    match result {
        Ok(()) => Ok(decoded),
        Err(error) => Err(Failure::new(Outcome::Protocol, format!("the body does not decode: {error}"))),
    }
}

fn pour(coding: ContentCoding, coded: &[u8], sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    match coding {
        _ if coded.is_empty() => Ok(()),
        ContentCoding::Gzip => drain(flate2::read::MultiGzDecoder::new(coded), sink),
        // RFC 9110 means zlib; some servers send bare deflate all the same. A zlib
        // header is 8 in the low half of its first byte and divides by 31.
        ContentCoding::Deflate if is_zlib(coded) => drain(flate2::read::ZlibDecoder::new(coded), sink),
        ContentCoding::Deflate => drain(flate2::read::DeflateDecoder::new(coded), sink),
        ContentCoding::Brotli => drain(brotli_decompressor::Decompressor::new(coded, 4096), sink),
        ContentCoding::Zstd => drain_zstd(coded, sink),
    }
}

fn is_zlib(coded: &[u8]) -> bool {
    matches!(coded, [first, second, ..] if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31))
}

/// A zstd body may be several frames.
fn drain_zstd(mut coded: &[u8], mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    while !coded.is_empty() {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut coded).map_err(io::Error::other)?;
        drain(frame, &mut sink)?;
    }
    Ok(())
}

fn drain(mut decoder: impl Read, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = [0u8; 16 << 10];
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(()),
            read => sink(&buffer[..read])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use std::io::Write;

    fn decoded(coding: ContentCoding, coded: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut response = Response::new();
        response.coded = coded.to_vec();
        let length = decode(Coding::Known(coding), &mut response, true)?;
        assert_eq!(length, response.body.len() as u64);
        Ok(response.body)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_is_undone() {
        let text = b"hello hello hello hello";
        assert_eq!(decoded(ContentCoding::Gzip, &gzip(text)).unwrap(), text);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        assert_eq!(decoded(ContentCoding::Deflate, &zlib.finish().unwrap()).unwrap(), text);
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(text).unwrap();
        assert_eq!(decoded(ContentCoding::Deflate, &bare.finish().unwrap()).unwrap(), text);
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(&text[..], level);
        assert_eq!(decoded(ContentCoding::Zstd, &zstd).unwrap(), text);
        // `hello` as one uncompressed brotli meta-block and an empty last one.
        let brotli = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        assert_eq!(decoded(ContentCoding::Brotli, &brotli).unwrap(), b"hello");
    }

    #[test]
    fn a_body_that_does_not_decode_is_a_protocol_error() {
        let whole = gzip(b"hello");
        for (coding, bytes) in [
            (ContentCoding::Gzip, &whole[..whole.len() - 4]),
            (ContentCoding::Gzip, b"plain"),
            (ContentCoding::Brotli, b"\xff\xff\xff plain"),
            (ContentCoding::Zstd, b"plain text"),
        ] {
            assert_eq!(decoded(coding, bytes).unwrap_err().outcome, Outcome::Protocol, "{coding:?}");
        }
    }

    #[test]
    fn a_body_that_grows_beyond_the_bound_is_refused() {
        let bomb = gzip(&vec![0; (DECODED_MAX + 1) as usize]);
        assert!(decoded(ContentCoding::Gzip, &bomb).unwrap_err().detail.contains("64 MiB"));
    }
}
