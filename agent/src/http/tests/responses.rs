use super::*;
use squall_common::sample::Outcome;

/// One answer to one GET, then the connection is closed.
async fn answered(answer: &'static [u8]) -> (Attempt, Response) {
    let address = serve(move |_, mut peer| async move {
        peer.request().await;
        peer.send(answer).await;
    })
    .await;
    fetch(&*client_at(address).await, PATIENT).await
}

#[test]
fn a_response_is_read_counted_and_timed() {
    worker(async {
        let address = serve(|_, mut peer| async move { peer.answer_all(HELLO).await }).await;
        let client = client_at(address).await;
        let (attempt, response) = fetch(&client, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Ok, Some(200)));
        assert_eq!((response.body(), response.header("Content-Length")), (&b"hello"[..], Some(&b"5"[..])));
        assert_eq!((attempt.body_bytes, attempt.decoded_body_bytes), (5, 5));
        assert_eq!(attempt.bytes_received, HELLO.len() as u64);
        assert_eq!(attempt.bytes_sent, format!("GET / HTTP/1.1\r\nhost: {address}\r\n\r\n").len() as u64);
        assert!(attempt.phases.connect_us.is_some() && attempt.phases.wait_us.is_some());
        assert!(attempt.phases.rtt_us.is_some());
        assert_eq!((attempt.phases.dns_us, attempt.phases.tls_us), (None, None));
        let (again, _) = fetch(&client, PATIENT).await;
        assert_eq!(again.phases.connect_us, None, "a kept connection does not connect");
        assert!(again.sent_ns.unwrap() > attempt.done_ns);
    });
}

#[test]
fn nothing_is_kept_that_nobody_wants() {
    worker(async {
        let address = serve(|_, mut peer| async move { peer.answer_all(HELLO).await }).await;
        let client = client_at(address).await;
        let mut response = Response::new();
        let attempt = client.exchange(&get("/"), Want::default(), PATIENT, &mut response).await;
        assert_eq!((attempt.body_bytes, response.status()), (5, 200));
        assert!(response.body().is_empty() && response.headers().next().is_none());
    });
}

#[test]
fn a_chunked_body_dribbled_byte_by_byte_is_put_together() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            peer.0.set_nodelay(true).unwrap();
            while !peer.request().await.is_empty() {
                for byte in
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\nt: 1\r\n\r\n"
                {
                    peer.send([*byte]).await;
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        let client = client_at(address).await;
        for _ in 0..2 {
            let (attempt, response) = fetch(&client, PATIENT).await;
            assert_eq!((attempt.outcome, response.body()), (Outcome::Ok, &b"hello"[..]));
        }
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn a_body_that_lasts_until_close_is_whole() {
    worker(async {
        let (attempt, response) = answered(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
        assert_eq!((attempt.outcome, response.body()), (Outcome::Ok, &b"all of it"[..]));
    });
}

#[test]
fn an_answer_to_head_has_no_body_and_keeps_the_connection() {
    worker(async {
        let address =
            serve(|_, mut peer| async move { peer.answer_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await })
                .await;
        let client = client_at(address).await;
        for _ in 0..2 {
            let (attempt, _) = send(&client, &Request::new(Method::HEAD), PATIENT).await;
            assert_eq!((attempt.outcome, attempt.body_bytes), (Outcome::Ok, 0));
        }
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn an_interim_response_is_not_the_answer() {
    worker(async {
        let (attempt, _) =
            answered(b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
                .await;
        assert_eq!(attempt.status, Some(201));
    });
}

#[test]
fn garbage_and_broken_framing_are_protocol_errors() {
    worker(async {
        for answer in [
            &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert_eq!(answered(answer).await.0.outcome, Outcome::Protocol, "{}", answer.escape_ascii());
        }
    });
}

#[test]
fn an_endless_head_is_a_protocol_error() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            peer.request().await;
            peer.send(b"HTTP/1.1 200 OK\r\n").await;
            for _ in 0..10_000 {
                peer.send(b"x-more: and more and more\r\n").await;
            }
            peer.stall().await;
        })
        .await;
        assert_eq!(fetch(&*client_at(address).await, PATIENT).await.0.outcome, Outcome::Protocol);
    });
}

#[test]
fn a_response_cut_short_is_truncated_and_its_status_is_known() {
    worker(async {
        for answer in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let (attempt, _) = answered(answer).await;
            assert_eq!((attempt.outcome, attempt.status), (Outcome::Truncated, Some(200)));
            assert_eq!(attempt.body_bytes, 5);
        }
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\nconte").await.0.outcome, Outcome::Truncated);
    });
}

#[test]
fn a_large_body_is_sent_whole_in_any_number_of_pieces() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            let request = peer.request().await;
            let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        })
        .await;
        let client = client_at(address).await;
        let mut request = Request::new(Method::POST);
        let mut expected = Vec::new();
        for number in 0..40u8 {
            let piece = vec![b'a' + number % 26; 10_000];
            expected.extend_from_slice(&piece);
            let start = request.scratch().len();
            if number % 2 == 0 {
                request.push_body(Span::Shared(piece.into()));
            } else {
                request.scratch().extend_from_slice(&piece);
                request.push_body(Span::Scratch(start..start + 10_000));
            }
        }
        let (attempt, response) = send(&client, &request, PATIENT).await;
        assert_eq!(attempt.outcome, Outcome::Ok, "{:?}", attempt.detail);
        assert!(response.body() == expected);
    });
}

#[test]
fn an_answer_sent_before_the_request_was_read_still_counts() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            let mut some = [0; 1000];
            let _ = peer.0.read(&mut some).await;
            peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
            tokio::time::sleep(PATIENT).await;
        })
        .await;
        let client = client_at(address).await;
        let (attempt, _) = send(&client, &post(vec![b'x'; 64 << 20]), PATIENT).await;
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Ok, Some(413)));
        assert_eq!(client.open_connections(), 0, "a request half sent spoils its connection");
    });
}

#[test]
fn headers_and_bodies_go_out_as_rendered() {
    worker(async {
        let log = Log::default();
        let seen = log.clone();
        let address = serve(move |_, mut peer| {
            let seen = seen.clone();
            async move {
                let request = peer.request().await;
                seen.borrow_mut().push(request);
                peer.send(HELLO).await;
            }
        })
        .await;
        let mut target = target_at(address);
        target.base_path = "/api".to_owned();
        let client = client_of(&target).await;
        let mut request = Request::new(Method::POST);
        request.scratch().extend_from_slice(b"/v1?n=7seven");
        request.set_path(Span::Scratch(0..7));
        request.push_header(Bytes::from_static(b"x-n"), Span::Scratch(7..12));
        request.push_body(Span::Shared(Bytes::from_static(b"{\"n\":")));
        request.push_body(Span::Scratch(6..7));
        request.push_body(Span::Shared(Bytes::from_static(b"}")));
        send(&client, &request, PATIENT).await;
        let expected = format!(
            "POST /api/v1?n=7 HTTP/1.1\r\nhost: {address}\r\nx-n: seven\r\ncontent-length: 7\r\n\r\n{{\"n\":7}}"
        );
        assert_eq!(log.borrow()[0], expected);
    });
}

#[test]
fn rendered_text_cannot_break_a_requests_framing() {
    worker(async {
        let client = client_at(serve(|_, mut peer| async move { peer.answer_all(HELLO).await }).await).await;
        let mut request = Request::new(Method::GET);
        request.scratch().extend_from_slice(b"/a b\r\n");
        request.set_path(Span::Scratch(0..4));
        let (attempt, _) = send(&client, &request, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.sent_ns), (Outcome::Protocol, None));
        assert_eq!(client.opened_total(), 0);
    });
}

#[test]
fn pieces_of_a_streamed_body_are_shown_as_they_arrive() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            peer.request().await;
            peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for _ in 0..3 {
                peer.send(b"2\r\nhi\r\n").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            peer.send(b"0\r\n\r\n").await;
        })
        .await;
        let client = client_at(address).await;
        let mut seen: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut watch = |at_ns, bytes: &[u8]| seen.push((at_ns, bytes.to_vec()));
        let mut response = Response::new();
        let sends = Cell::new(0);
        let on_send = || sends.set(sends.get() + 1);
        let observer = Observer { on_send: Some(&on_send), watch: Some(&mut watch) };
        client.exchange_observed(&get("/"), Want::default(), PATIENT, &mut response, observer).await;
        assert_eq!(sends.get(), 1);
        assert_eq!(seen.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 6);
        assert!(seen.len() > 1 && seen.is_sorted_by_key(|(at_ns, _)| *at_ns));
    });
}

#[test]
fn the_servers_own_time_becomes_a_phase() {
    worker(async {
        let (attempt, _) =
            answered(b"HTTP/1.1 200 OK\r\nx-envoy-upstream-service-time: 12\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(attempt.phases.server_us, Some(12_000));
    });
}
