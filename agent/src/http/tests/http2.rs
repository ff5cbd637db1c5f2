use super::tls::{Authority, serve_tls, tls_target};
use super::*;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use squall_common::sample::Outcome;
use std::convert::Infallible;

#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}

/// Echoes method, path and body, after a pause for `/slow` and never for `/never`.
async fn echo(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    match head.uri.path() {
        "/slow" => tokio::time::sleep(Duration::from_millis(100)).await,
        "/never" => std::future::pending().await,
        _ => {}
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
    Ok(http::Response::builder().header("openai-processing-ms", "3").body(Full::new(text.into())).unwrap())
}

async fn speak_h2<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S) {
    let _ = hyper::server::conn::http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service_fn(echo))
        .await;
}

async fn h2_target() -> Target {
    let mut target = target_at(serve(|_, peer| speak_h2(peer.0)).await);
    target.http = HttpVersion::Http2;
    target
}

#[test]
fn a_request_by_prior_knowledge_is_answered_and_timed() {
    worker(async {
        let target = h2_target().await;
        let client = client_of(&target).await;
        let mut request = post("ping");
        request.set_path(Span::Shared(Bytes::from_static(b"/x?y=1")));
        let (attempt, response) = send(&client, &request, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Ok, Some(200)), "{:?}", attempt.detail);
        let expected = format!("POST http://{}/x?y=1 ping", target.authority());
        assert_eq!(response.body(), expected.as_bytes());
        let phases = attempt.phases;
        assert!(phases.connect_us.is_some() && phases.wait_us.is_some() && phases.receive_us.is_some());
        assert_eq!(phases.server_us, Some(3_000));
        assert!(attempt.bytes_sent >= 4 && attempt.bytes_received >= expected.len() as u64);
    });
}

#[test]
fn streams_share_connections_up_to_the_policys_number() {
    worker(async {
        let mut target = h2_target().await;
        target.connections.streams_per_connection = 4;
        let client = client_of(&target).await;
        let users: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                spawn_local(async move { send(&client, &get("/slow"), PATIENT).await.0.outcome })
            })
            .collect();
        for user in users {
            assert_eq!(user.await.unwrap(), Outcome::Ok);
        }
        assert_eq!(client.opened_total(), 3);
    });
}

#[test]
fn a_stream_that_times_out_leaves_its_connection_to_others() {
    worker(async {
        let client = client_of(&h2_target().await).await;
        let (attempt, _) = send(&client, &get("/never"), IMPATIENT).await;
        assert_eq!(attempt.outcome, Outcome::TimeoutFirstByte);
        assert_eq!(send(&client, &get("/"), PATIENT).await.0.outcome, Outcome::Ok);
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn alpn_decides_between_the_versions_and_one_first_connection_learns_it() {
    worker(async {
        let authority = Authority::new();
        let speaks_h2 = serve_tls(authority.acceptor("127.0.0.1", &[b"h2", b"http/1.1"], false), speak_h2).await;
        let speaks_h1 = serve_tls(authority.acceptor("127.0.0.1", &[b"http/1.1"], false), |stream| async move {
            Peer(stream).answer_all(HELLO).await
        })
        .await;
        for (address, connections) in [(speaks_h2, 1), (speaks_h1, 5)] {
            let client = client_of(&tls_target(address, &authority.ca_pem)).await;
            let users: Vec<_> = (0..5)
                .map(|_| {
                    let client = client.clone();
                    spawn_local(async move { send(&client, &get("/slow"), PATIENT).await.0 })
                })
                .collect();
            for user in users {
                let attempt = user.await.unwrap();
                assert_eq!(attempt.outcome, Outcome::Ok, "{:?}", attempt.detail);
            }
            assert!(client.opened_total() <= connections, "{}", client.opened_total());
        }
    });
}

#[test]
fn a_server_without_http2_fails_a_target_that_insists_on_it() {
    worker(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor("127.0.0.1", &[b"http/1.1"], false);
        let address = serve_tls(acceptor, |stream| async move { Peer(stream).stall().await }).await;
        let mut target = tls_target(address, &authority.ca_pem);
        target.http = HttpVersion::Http2;
        assert_eq!(fetch(&*client_of(&target).await, PATIENT).await.0.outcome, Outcome::Tls);
    });
}

#[test]
fn a_connection_closed_under_its_streams_is_a_reset_and_the_next_request_opens_another() {
    worker(async {
        let address = serve(|place, peer| async move {
            if place == 0 {
                let _ = tokio::time::timeout(IMPATIENT, speak_h2(peer.0)).await;
            } else {
                speak_h2(peer.0).await;
            }
        })
        .await;
        let mut target = target_at(address);
        target.http = HttpVersion::Http2;
        let client = client_of(&target).await;
        let (attempt, _) = send(&client, &get("/never"), PATIENT).await;
        assert_eq!(attempt.outcome, Outcome::ConnectReset, "{:?}", attempt.detail);
        assert_eq!(send(&client, &get("/"), PATIENT).await.0.outcome, Outcome::Ok);
        assert_eq!(client.opened_total(), 2);
    });
}

#[test]
fn warming_opens_that_many_connections() {
    worker(async {
        let client = client_of(&h2_target().await).await;
        client.warm(3).await.unwrap();
        assert_eq!(client.open_connections(), 3);
        assert_eq!(send(&client, &get("/"), PATIENT).await.0.outcome, Outcome::Ok);
        assert_eq!(client.opened_total(), 3);
    });
}

#[test]
fn garbage_instead_of_http2_is_a_failure_not_a_hang() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            peer.stall().await;
        })
        .await;
        let mut target = target_at(address);
        target.http = HttpVersion::Http2;
        let (attempt, _) = fetch(&*client_of(&target).await, PATIENT).await;
        assert_eq!(attempt.outcome, Outcome::Protocol, "{:?}", attempt.detail);
    });
}
