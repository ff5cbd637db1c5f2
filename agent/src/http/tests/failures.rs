use super::*;
use squall_common::sample::Outcome;

#[test]
fn a_closed_port_is_refused_and_nothing_was_sent() {
    worker(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = client_at(address).await;
        let (attempt, _) = fetch(&client, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.sent_ns), (Outcome::ConnectRefused, None));
        assert!(attempt.done_ns > 0 && attempt.detail.is_some());
        let shared = TargetShared::prepare(&target_at(address), &anywhere()).await.unwrap();
        assert_eq!(shared.probe().await.unwrap_err().outcome, Outcome::ConnectRefused);
    });
}

#[test]
fn a_reset_or_a_close_without_an_answer_is_a_connection_reset() {
    worker(async {
        for resets in [true, false] {
            let address = serve(move |_, mut peer| async move {
                peer.request().await;
                if resets {
                    peer.reset();
                }
            })
            .await;
            let client = client_at(address).await;
            let (attempt, _) = fetch(&client, PATIENT).await;
            assert_eq!(attempt.outcome, Outcome::ConnectReset, "resets: {resets}");
            assert!(attempt.sent_ns.is_some());
            assert_eq!(client.open_connections(), 0);
        }
    });
}

#[test]
fn a_reset_inside_the_response_is_truncated() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            peer.request().await;
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            peer.reset();
        })
        .await;
        assert_eq!(fetch(&*client_at(address).await, PATIENT).await.0.outcome, Outcome::Truncated);
    });
}

#[test]
fn a_timeout_is_named_by_the_phase_it_struck_and_closes_the_connection() {
    worker(async {
        let silent = serve(|_, mut peer| async move { peer.stall().await }).await;
        let halfway = serve(|_, mut peer| async move {
            peer.request().await;
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await;
            peer.stall().await;
        })
        .await;
        let deaf = serve(|_, peer| async move {
            tokio::time::sleep(PATIENT).await;
            drop(peer);
        })
        .await;
        let cases = [
            (silent, get("/"), Outcome::TimeoutFirstByte),
            (halfway, get("/"), Outcome::TimeoutBody),
            (deaf, post(vec![b'x'; 64 << 20]), Outcome::TimeoutRequest),
        ];
        for (address, request, expected) in cases {
            let client = client_at(address).await;
            let (attempt, _) = send(&client, &request, IMPATIENT).await;
            assert_eq!(attempt.outcome, expected);
            assert!(attempt.done_ns - attempt.sent_ns.unwrap() >= 100_000_000);
            assert_eq!(client.open_connections(), 0);
        }
    });
}

#[test]
fn a_longer_or_shorter_timeout_on_a_kept_connection_is_kept_to() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            for pause in [0, 200, 0, 20_000] {
                peer.request().await;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                peer.send(HELLO).await;
            }
        })
        .await;
        let client = client_at(address).await;
        let mut outcomes = Vec::new();
        for timeout in [Duration::from_millis(100), PATIENT, PATIENT, IMPATIENT] {
            outcomes.push(fetch(&client, timeout).await.0.outcome);
        }
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Ok, Outcome::Ok, Outcome::TimeoutFirstByte]);
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn a_full_backlog_times_out_in_connect() {
    worker(async {
        // Never accepted, with the smallest queue: further SYNs are dropped.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut fillers = Vec::new();
        for _ in 0..4 {
            fillers.push(tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await);
        }
        let mut target = target_at(address);
        target.connections.connect_timeout = IMPATIENT;
        let (attempt, _) = fetch(&*client_of(&target).await, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.sent_ns), (Outcome::TimeoutConnect, None));
    });
}

#[test]
fn an_unknown_host_and_a_bad_certificate_file_are_told_at_preparation() {
    worker(async {
        let mut target = target_at(([127, 0, 0, 1], 1).into());
        target.host = format!("{}.invalid", "x".repeat(64));
        let error = TargetShared::prepare(&target, &anywhere()).await.unwrap_err();
        assert!(error.to_string().contains("target `t`: looking up `xxx"), "{error}");
        target.host = "127.0.0.1".to_owned();
        target.scheme = Scheme::Https;
        let pem = |text: &'static str| squall_common::plan::PemSource::Inline(Bytes::from_static(text.as_bytes()));
        target.tls.extra_ca = Some(pem("not a certificate"));
        let error = TargetShared::prepare(&target, &anywhere()).await.unwrap_err();
        assert!(error.to_string().contains("the CA certificate has no certificate in it"), "{error}");
        target.tls.extra_ca = Some(squall_common::plan::PemSource::AgentPath("/nonexistent/ca.pem".to_owned()));
        let error = TargetShared::prepare(&target, &anywhere()).await.unwrap_err();
        assert!(error.to_string().contains("`/nonexistent/ca.pem` cannot be read"), "{error}");
    });
}
