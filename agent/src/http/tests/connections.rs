use super::super::obtain::DIALS_AT_ONCE;
use super::*;
use squall_common::sample::Outcome;
use std::net::{IpAddr, Ipv4Addr};

/// A server that answers everything, and the target's client after `change`.
async fn policy_client(change: impl FnOnce(&mut ConnectionPolicy)) -> Rc<TargetClient> {
    let address = serve(|_, mut peer| async move { peer.answer_all(HELLO).await }).await;
    let mut target = target_at(address);
    change(&mut target.connections);
    client_of(&target).await
}

async fn fetch_ok(client: &TargetClient) {
    let (attempt, _) = fetch(client, PATIENT).await;
    assert_eq!(attempt.outcome, Outcome::Ok, "{:?}", attempt.detail);
}

#[test]
fn a_connection_is_kept_and_used_again() {
    worker(async {
        let client = policy_client(|_| {}).await;
        for _ in 0..5 {
            fetch_ok(&client).await;
        }
        assert_eq!((client.open_connections(), client.opened_total()), (1, 1));
    });
}

#[test]
fn a_dead_idle_connection_is_replaced_before_anything_is_sent() {
    worker(async {
        let address = serve(|number, mut peer| async move {
            peer.request().await;
            peer.send(HELLO).await;
            if number > 0 {
                peer.answer_all(HELLO).await;
            }
        })
        .await;
        let client = client_at(address).await;
        fetch_ok(&client).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        fetch_ok(&client).await;
        assert_eq!(client.opened_total(), 2);
    });
}

#[test]
fn stray_bytes_spoil_a_connection_with_the_response_or_after_it() {
    worker(async {
        for late in [false, true] {
            let address = serve(move |_, mut peer| async move {
                while !peer.request().await.is_empty() {
                    let now: &[u8] = if late { b"" } else { b"stray" };
                    peer.send([HELLO, now].concat()).await;
                    if late {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        peer.send(b"stray").await;
                    }
                }
            })
            .await;
            let client = client_at(address).await;
            fetch_ok(&client).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            fetch_ok(&client).await;
            assert_eq!(client.opened_total(), 2, "late: {late}");
        }
    });
}

#[test]
fn a_connection_ends_with_its_last_allowed_request() {
    worker(async {
        let client = policy_client(|policy| policy.max_requests = Some(2)).await;
        for _ in 0..4 {
            fetch_ok(&client).await;
        }
        assert_eq!((client.open_connections(), client.opened_total()), (0, 2));
    });
}

#[test]
fn idle_time_and_lifetime_end_a_connection() {
    worker(async {
        let short = Duration::from_millis(30);
        let idle = policy_client(|policy| policy.idle_timeout = short).await;
        let old = policy_client(|policy| policy.lifetime = Some(short)).await;
        for client in [idle, old] {
            fetch_ok(&client).await;
            tokio::time::sleep(short * 3).await;
            fetch_ok(&client).await;
            assert_eq!(client.opened_total(), 2);
        }
    });
}

#[test]
fn beyond_the_limit_exchanges_wait_their_turn_and_that_is_not_service_time() {
    worker(async {
        let address = serve(|_, mut peer| async move {
            while !peer.request().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(40)).await;
                peer.send(HELLO).await;
            }
        })
        .await;
        let mut target = target_at(address);
        target.connections.max_connections = Some(1);
        let client = client_of(&target).await;
        // The wait alone is longer than the timeout would allow.
        let timeout = Duration::from_millis(3_000);
        let ends = Rc::new(RefCell::new(Vec::new()));
        let users: Vec<_> = (0..5)
            .map(|number| {
                let (client, ends) = (client.clone(), ends.clone());
                spawn_local(async move {
                    let (attempt, _) = fetch(&client, timeout).await;
                    ends.borrow_mut().push((number, attempt));
                })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
        let ends = ends.borrow();
        assert!(ends.iter().map(|(number, _)| *number).eq(0..5), "first come, first served");
        assert!(ends.iter().all(|(_, attempt)| attempt.outcome.is_ok()));
        for pair in ends.windows(2) {
            assert!(pair[1].1.sent_ns.unwrap() >= pair[0].1.done_ns);
        }
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn a_dropped_exchange_closes_its_connection_and_frees_its_place() {
    worker(async {
        let address = serve(|number, mut peer| async move {
            match number {
                0 => peer.stall().await,
                _ => peer.answer_all(HELLO).await,
            }
        })
        .await;
        let mut target = target_at(address);
        target.connections.max_connections = Some(1);
        let client = client_of(&target).await;
        tokio::select! {
            _ = fetch(&client, PATIENT) => panic!("the server never answers"),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        assert_eq!(client.open_connections(), 0);
        fetch_ok(&client).await;
        assert_eq!(client.opened_total(), 2);
    });
}

#[test]
fn warming_opens_connections_ahead_within_the_limit() {
    worker(async {
        let client = policy_client(|policy| policy.max_connections = Some(3)).await;
        for _ in 0..2 {
            client.warm(8).await.unwrap();
            assert_eq!(client.open_connections(), 3);
        }
        fetch_ok(&client).await;
        assert_eq!(client.opened_total(), 3);
    });
}

#[test]
fn source_addresses_are_used_in_turn() {
    worker(async {
        let log = Log::default();
        let seen = log.clone();
        let address = serve(move |_, mut peer| {
            seen.borrow_mut().push(peer.0.peer_addr().unwrap().ip().to_string());
            async move { peer.answer_all(HELLO).await }
        })
        .await;
        let mut target = target_at(address);
        target.connections.source_addresses = [2, 3].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).to_vec();
        target.connections.max_requests = Some(1);
        let client = client_of(&target).await;
        for _ in 0..3 {
            fetch_ok(&client).await;
        }
        assert_eq!(*log.borrow(), ["127.0.0.2", "127.0.0.3", "127.0.0.2"]);
    });
}

#[test]
fn every_address_of_a_name_gets_its_turn_and_a_dead_one_is_passed_over() {
    worker(async {
        let address = serve(|_, mut peer| async move { peer.answer_all(HELLO).await }).await;
        let mut target = target_at(address);
        target.connections.max_requests = Some(1);
        let shared = TargetShared::prepare(&target, &anywhere()).await.unwrap();
        let dead: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), address.port());
        let client = TargetClient::new(shared.clone(), 0, 1);
        shared.names.replace([dead, address].into());
        for _ in 0..3 {
            fetch_ok(&client).await;
        }
        shared.names.replace([dead].into());
        assert_eq!(fetch(&client, PATIENT).await.0.outcome, Outcome::ConnectRefused);
    });
}

#[test]
fn a_name_is_looked_up_and_its_time_counts_only_when_a_connect_waited() {
    worker(async {
        let address = serve(|_, mut peer| async move { peer.answer_all(HELLO).await }).await;
        let shared = TargetShared::prepare(&target_at(address), &anywhere()).await.unwrap();
        let client = TargetClient::new(shared.clone(), 0, 1);
        shared.names.replace([].into());
        let (attempt, _) = fetch(&client, PATIENT).await;
        assert_eq!(attempt.outcome, Outcome::Ok);
        assert!(attempt.phases.dns_us.is_some());
    });
}

/// A server that answers only when told, and how often it was asked.
async fn told_client() -> (Rc<TargetClient>, Rc<tokio::sync::Semaphore>) {
    let answers = Rc::new(tokio::sync::Semaphore::new(0));
    let told = answers.clone();
    let address = serve(move |_, mut peer| {
        let told = told.clone();
        async move {
            while !peer.request().await.is_empty() {
                told.acquire().await.unwrap().forget();
                peer.send(HELLO).await;
            }
        }
    })
    .await;
    (client_at(address).await, answers)
}

#[test]
fn a_waiting_request_takes_a_connection_that_becomes_free_before_its_own() {
    worker(async {
        let (client, answers) = told_client().await;
        let all_but_one: Vec<_> = (1..DIALS_AT_ONCE).map(|_| client.dials.try_acquire().unwrap()).collect();
        let first = fetch_ok(&client);
        let others = async {
            while client.opened_total() == 0 {
                tokio::task::yield_now().await;
            }
            let last = client.dials.acquire().await;
            let more = async {
                futures_util::future::join_all((0..3).map(|_| fetch_ok(&client))).await;
            };
            let free = async {
                tokio::task::yield_now().await;
                answers.add_permits(4);
            };
            tokio::join!(more, free);
            drop(last);
        };
        tokio::join!(first, others);
        drop(all_but_one);
        // Dials whose turn came too late are not begun.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn only_so_many_dials_go_on_at_a_time() {
    worker(async {
        let (client, answers) = told_client().await;
        let many = DIALS_AT_ONCE as usize * 2;
        answers.add_permits(many);
        let all = futures_util::future::join_all((0..many).map(|_| fetch_ok(&client)));
        all.await;
        assert!(client.opened_total() <= many as u64);
        // Dials that nobody waits for any more may still be under way: their turns come back.
        let mut held = Vec::new();
        for _ in 0..DIALS_AT_ONCE {
            held.push(client.dials.acquire().await);
        }
        assert!(client.dials.try_acquire().is_none(), "there are no more turns than that");
        drop(held);
    });
}

#[test]
fn a_request_whose_turn_to_dial_never_comes_times_out_connecting() {
    worker(async {
        let (client, _answers) = told_client().await;
        let held: Vec<_> = (0..DIALS_AT_ONCE).map(|_| client.dials.try_acquire().unwrap()).collect();
        let (attempt, _) = fetch(&client, IMPATIENT).await;
        assert_eq!(attempt.outcome, Outcome::TimeoutConnect);
        assert_eq!((client.opened_total(), attempt.sent_ns), (0, None));
        drop(held);
    });
}
