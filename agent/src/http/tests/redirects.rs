use super::*;
use squall_common::sample::Outcome;

/// Answers by path, logging each request's first line.
async fn redirecting(log: &Log) -> SocketAddr {
    let log = log.clone();
    serve(move |_, mut peer| {
        let log = log.clone();
        async move {
            loop {
                let request = peer.request().await;
                let Some(line) = request.lines().next() else { return };
                let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                log.borrow_mut().push(format!("{}|{body}", line.trim_end_matches(" HTTP/1.1")));
                let (status, to) = match line.split(' ').nth(1).unwrap() {
                    "/see-other" => (302, "/done"),
                    "/keep" => (307, "done"),
                    "/loop" => (302, "/loop"),
                    "/away" => (302, "http://127.0.0.1:1/done"),
                    _ => (200, ""),
                };
                let location = if to.is_empty() { String::new() } else { format!("location: {to}\r\n") };
                peer.send(format!("HTTP/1.1 {status} X\r\n{location}content-length: 0\r\n\r\n")).await;
            }
        }
    })
    .await
}

async fn posted(redirects: Redirects, path: &'static str) -> (Option<u16>, Vec<String>) {
    let log = Log::default();
    let mut target = target_at(redirecting(&log).await);
    target.redirects = redirects;
    let client = client_of(&target).await;
    let mut request = post("body");
    request.set_path(Span::Shared(Bytes::from_static(path.as_bytes())));
    let (attempt, _) = send(&client, &request, PATIENT).await;
    assert_eq!(attempt.outcome, Outcome::Ok);
    let seen = log.borrow().clone();
    (attempt.status, seen)
}

#[test]
fn redirects_are_results_unless_following_is_asked_for() {
    worker(async {
        assert_eq!(posted(Redirects::Off, "/see-other").await, (Some(302), vec!["POST /see-other|body".to_owned()]));
    });
}

#[test]
fn a_found_redirect_becomes_get_and_a_temporary_one_is_sent_again() {
    worker(async {
        let follow = Redirects::Follow(3);
        let (status, seen) = posted(follow, "/see-other").await;
        assert_eq!((status, seen[1].as_str()), (Some(200), "GET /done|"));
        let (status, seen) = posted(follow, "/keep").await;
        assert_eq!((status, seen[1].as_str()), (Some(200), "POST /done|body"));
    });
}

#[test]
fn following_stops_at_the_limit_and_at_the_origin() {
    worker(async {
        let (status, seen) = posted(Redirects::Follow(2), "/loop").await;
        assert_eq!((status, seen.len()), (Some(302), 3));
        let (status, seen) = posted(Redirects::Follow(2), "/away").await;
        assert_eq!((status, seen.len()), (Some(302), 1));
    });
}
