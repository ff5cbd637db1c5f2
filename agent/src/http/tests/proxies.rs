use super::*;
use squall_common::sample::Outcome;

async fn proxied(scheme: Scheme, proxy: SocketAddr) -> Rc<TargetClient> {
    let mut target = target_at(([192, 0, 2, 1], 81).into());
    target.scheme = scheme;
    target.tls.insecure = true;
    target.proxy_from_environment = true;
    let variable = move |_: &str| Some(format!("http://user:word@{proxy}"));
    let no_exemptions = move |name: &str| if name.eq_ignore_ascii_case("no_proxy") { None } else { variable(name) };
    TargetClient::new(TargetShared::prepare_with(&target, no_exemptions).await.unwrap(), 0, 1)
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
