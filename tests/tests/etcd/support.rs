//! Coordinators with names, and what they come to know.

use squall_controller::etcd::{Coordinator, Fence, Leadership, Options};
use squall_tests::etcd::Etcd;
use std::time::Duration;

/// Everything here happens within seconds; this is when a test gives up.
pub const WITHIN: Duration = Duration::from_secs(30);
/// Short, so that its end is seen soon.
pub const SHORT: Duration = Duration::from_secs(2);
/// For tests in which no lease should end.
pub const LONG: Duration = Duration::from_secs(20);

/// A controller that stands for election on these endpoints.
pub async fn stand_on(endpoints: Vec<String>, address: &str, ttl: Duration) -> Coordinator {
    let mut options = Options::new(endpoints, "tests", address);
    options.ttl = ttl;
    Coordinator::start(options).await.expect("etcd answers")
}

pub async fn stand(etcd: &Etcd, address: &str, ttl: Duration) -> Coordinator {
    stand_on(etcd.endpoints(), address, ttl).await
}

/// Waits until `is` holds of where a controller stands.
pub async fn until(coordinator: &Coordinator, what: &str, is: impl Fn(&Leadership) -> bool) -> Leadership {
    let mut leadership = coordinator.leadership();
    let reached = tokio::time::timeout(WITHIN, leadership.wait_for(is)).await;
    let now = coordinator.leadership().borrow().clone();
    match reached {
        Ok(found) => found.unwrap_or_else(|_| panic!("the session ended while waited for: {what}")).clone(),
        Err(_) => panic!("waited in vain for: {what}; now {now:?}"),
    }
}

/// Waits until it leads with another fence than `before`.
pub async fn leads_after(coordinator: &Coordinator, before: Option<&Fence>) -> Fence {
    let is_new = |now: &Leadership| matches!(now, Leadership::Leader(fence) if Some(fence) != before);
    match until(coordinator, "to lead", is_new).await {
        Leadership::Leader(fence) => fence,
        other => panic!("{other:?}"),
    }
}

pub async fn leads(coordinator: &Coordinator) -> Fence {
    leads_after(coordinator, None).await
}

pub async fn follows(coordinator: &Coordinator, address: &str) {
    let is = |now: &Leadership| *now == Leadership::Standby { leader: Some(address.to_owned()) };
    until(coordinator, &format!("to follow {address}"), is).await;
}

/// etcd as an operator sees it.
pub async fn client(etcd: &Etcd, n: usize) -> etcd_client::Client {
    etcd_client::Client::connect([etcd.endpoint(n)], None).await.expect("a client")
}
