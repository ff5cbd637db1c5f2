use super::tls::{Authority, serve_tls};
use super::*;
use squall_common::sample::Outcome;

async fn proxied(scheme: Scheme, proxy: SocketAddr) -> Rc<TargetClient> {
    let mut target = target_at(([192, 0, 2, 1], 81).into());
    target.scheme = scheme;
    target.http = HttpVersion::Http1;
    target.tls.insecure = true;
    target.proxy_from_environment = true;
    let variable = move |_: &str| Some(format!("http://user:word@{proxy}"));
    let no_exemptions = move |name: &str| if name.eq_ignore_ascii_case("no_proxy") { None } else { variable(name) };
    TargetClient::new(TargetShared::prepare_with(&target, &anywhere(), no_exemptions).await.unwrap(), 0, 1)
}

/// Logs what the proxy is asked and answers `answer`.
async fn proxy(log: &Log, answer: &'static [u8]) -> SocketAddr {
    let log = log.clone();
    serve(move |_, mut peer| {
        let log = log.clone();
        async move {
            let request = peer.request().await;
            log.borrow_mut().push(request);
            peer.send(answer).await;
        }
    })
    .await
}

#[test]
fn a_proxy_is_asked_for_the_whole_url_with_its_credentials() {
    worker(async {
        let log = Log::default();
        let client = proxied(Scheme::Http, proxy(&log, HELLO).await).await;
        assert_eq!(fetch(&client, PATIENT).await.0.outcome, Outcome::Ok);
        let seen = log.borrow()[0].clone();
        assert!(seen.starts_with("GET http://192.0.2.1:81/ HTTP/1.1\r\nhost: 192.0.2.1:81\r\n"), "{seen}");
        assert!(seen.contains("proxy-authorization: Basic dXNlcjp3b3Jk\r\n"), "{seen}");
    });
}

#[test]
fn a_tunnel_that_the_proxy_refuses_is_a_failed_connect() {
    worker(async {
        let log = Log::default();
        let answer = b"HTTP/1.1 407 Authentication Required\r\ncontent-length: 0\r\n\r\n";
        let client = proxied(Scheme::Https, proxy(&log, answer).await).await;
        let (attempt, _) = fetch(&client, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.sent_ns), (Outcome::ConnectFailed, None));
        assert!(attempt.detail.unwrap().contains("407"));
        assert!(log.borrow()[0].starts_with("CONNECT 192.0.2.1:81 HTTP/1.1\r\n"));
    });
}

#[test]
fn a_tunnel_carries_tls_to_the_target_and_the_proxys_credentials_stay_outside() {
    worker(async {
        let log = Log::default();
        let inside = log.clone();
        let acceptor = Authority::new().acceptor("192.0.2.1", &[], false);
        let behind = serve_tls(acceptor, move |stream| {
            let inside = inside.clone();
            async move {
                let mut peer = Peer(stream);
                let request = peer.request().await;
                inside.borrow_mut().push(request);
                peer.send(HELLO).await;
                peer.stall().await;
            }
        })
        .await;
        let proxy = serve(move |_, mut peer| async move {
            assert!(peer.request().await.contains("proxy-authorization: Basic "));
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
            let mut onward = TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut peer.0, &mut onward).await;
        })
        .await;
        let client = proxied(Scheme::Https, proxy).await;
        let (attempt, response) = fetch(&client, PATIENT).await;
        assert_eq!((attempt.outcome, response.body()), (Outcome::Ok, &b"hello"[..]), "{:?}", attempt.detail);
        assert_eq!(log.borrow()[0], "GET / HTTP/1.1\r\nhost: 192.0.2.1:81\r\n\r\n");
    });
}

#[test]
fn behind_a_proxy_both_the_target_and_the_proxy_must_be_allowed() {
    worker(async {
        let mut target = target_at(([192, 0, 2, 1], 81).into());
        target.host = "api.example.com".to_owned();
        target.proxy_from_environment = true;
        for (patterns, refused) in [
            (&["127.0.0.1"][..], Some("`api.example.com:81`")),
            (&["api.example.com"], Some("`127.0.0.1:9`")),
            // Nobody here sees where the name leads: its addresses can't allow it.
            (&["192.0.2.0/24", "127.0.0.1"], Some("`api.example.com:81`")),
            (&["*.example.com", "127.0.0.1:9"], None),
        ] {
            let allow = AllowList::of(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect());
            let variable = |name: &str| (name == "http_proxy").then(|| "http://127.0.0.1:9".to_owned());
            let prepared = TargetShared::prepare_with(&target, &Arc::new(allow), variable).await;
            match (prepared, refused) {
                (Ok(_), None) => {}
                (Err(error), Some(what)) => {
                    let told = error.to_string();
                    assert!(told.contains(what) && told.contains("--allow-target"), "{patterns:?}: {told}");
                }
                (Ok(_), Some(_)) => panic!("{patterns:?} allow it"),
                (Err(error), None) => panic!("{patterns:?}: {error}"),
            }
        }
    });
}
