use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use squall_common::plan::ContentCoding;
use squall_common::sample::Outcome;
use std::io::Write;

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

async fn coded_client(body: Vec<u8>, accept: &[ContentCoding], log: &Log) -> Rc<TargetClient> {
    let log = log.clone();
    let address = serve(move |_, mut peer| {
        let (log, body) = (log.clone(), body.clone());
        async move {
            let request = peer.request().await;
            log.borrow_mut().push(request);
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len()))
                .await;
            peer.send(body).await;
        }
    })
    .await;
    let mut target = target_at(address);
    target.accept_encoding = accept.to_vec();
    client_of(&target).await
}

#[test]
fn a_coded_body_is_counted_on_the_wire_and_decoded() {
    worker(async {
        let (log, coded) = (Log::default(), gzipped(&[b'x'; 10_000]));
        let length = coded.len() as u64;
        let client = coded_client(coded, &[ContentCoding::Gzip, ContentCoding::Brotli], &log).await;
        let (attempt, response) = fetch(&client, PATIENT).await;
        assert_eq!((attempt.body_bytes, attempt.decoded_body_bytes), (length, 10_000));
        assert_eq!(response.body(), [b'x'; 10_000]);
        assert!(log.borrow()[0].contains("accept-encoding: gzip, br\r\n"));
    });
}

#[test]
fn bodies_are_left_alone_unless_decoding_is_asked_for() {
    worker(async {
        let (log, coded) = (Log::default(), gzipped(b"text"));
        let client = coded_client(coded.clone(), &[], &log).await;
        let (attempt, response) = fetch(&client, PATIENT).await;
        assert_eq!((response.body(), attempt.decoded_body_bytes), (&coded[..], coded.len() as u64));
        assert!(!log.borrow()[0].contains("accept-encoding"));
    });
}

#[test]
fn a_body_that_does_not_decode_is_a_protocol_error() {
    worker(async {
        let client = coded_client(b"plain".to_vec(), &[ContentCoding::Gzip], &Log::default()).await;
        assert_eq!(fetch(&client, PATIENT).await.0.outcome, Outcome::Protocol);
    });
}
