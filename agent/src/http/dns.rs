//! The addresses behind a name, looked up off the request path.

use super::failure::Failure;
use super::shared::PrepareProblem;
use squall_common::allow::AllowList;
use squall_common::sample::Outcome;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Failed refreshes in a row after which the old addresses are dropped. Then each
/// connect looks the name up itself, and its failure shows as `dns`.
const STALE_AFTER: u32 = 3;

/// One name and its last known addresses. Workers copy the list only when the
/// generation has moved, and only when they connect.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    port: u16,
    /// Asked at every lookup: a name may lead elsewhere tomorrow.
    allow: Arc<AllowList>,
    generation: AtomicU64,
    list: Mutex<Arc<[SocketAddr]>>,
}

/// A worker's copy.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    generation: u64,
    pub(super) list: Arc<[SocketAddr]>,
}

impl Names {
    /// Looks the name up for the first time. A name that is not allowed and can't
    /// be looked up either is refused: the name is what to speak of first.
    pub(super) async fn resolve(
        host: &str,
        port: u16,
        limit: Duration,
        allow: &Arc<AllowList>,
    ) -> Result<Self, PrepareProblem> {
        let list = match lookup(host, port, limit).await {
            Ok(list) => list,
            Err(failure) => {
                allow.check_host(host, port)?;
                return Err(failure.into());
            }
        };
        allow.check_addresses(host, port, &list)?;
        let generation = AtomicU64::new(0);
        Ok(Self { host: host.to_owned(), port, allow: allow.clone(), generation, list: Mutex::new(list) })
    }

    /// The addresses now, all of them allowed.
    async fn lookup_allowed(&self, limit: Duration) -> Result<Arc<[SocketAddr]>, Failure> {
        let list = lookup(&self.host, self.port, limit).await?;
        self.checked(list)
    }

    /// A name that has come to lead where it may not leads nowhere: its old
    /// addresses are forgotten, so that every new connection says why.
    fn checked(&self, list: Arc<[SocketAddr]>) -> Result<Arc<[SocketAddr]>, Failure> {
        match self.allow.check_addresses(&self.host, self.port, &list) {
            Ok(()) => Ok(list),
            Err(refusal) => {
                self.replace(Arc::new([]));
                Err(Failure::new(Outcome::Dns, refusal.to_string()))
            }
        }
    }

    pub(super) fn read(&self) -> Addresses {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        Addresses { generation: self.generation.load(Ordering::Acquire), list: list.clone() }
    }

    pub(super) fn is_current(&self, copy: &Addresses) -> bool {
        self.generation.load(Ordering::Acquire) == copy.generation
    }

    pub(super) fn replace(&self, fresh: Arc<[SocketAddr]>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if *list != fresh {
            *list = fresh;
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// A lookup that someone waits for.
    pub(super) async fn lookup_now(&self, limit: Duration) -> Result<Arc<[SocketAddr]>, Failure> {
        let list = self.lookup_allowed(limit).await?;
        self.replace(list.clone());
        Ok(list)
    }

    /// Looks the name up again every `every`, for as long as it is polled. Ends at
    /// once for an address, which never changes.
    pub(super) async fn run_refresh(&self, every: Duration) {
        if self.host.parse::<IpAddr>().is_ok() {
            return;
        }
        let every = every.max(Duration::from_secs(1));
        let mut failures = 0;
        loop {
            tokio::time::sleep(every).await;
            match self.lookup_allowed(every).await {
                Ok(fresh) => {
                    failures = 0;
                    self.replace(fresh);
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(host = self.host, failures, "name lookup failed: {error}");
                    if failures == STALE_AFTER {
                        self.replace(Arc::new([]));
                    }
                }
            }
        }
    }
}

/// The system's resolver, on a blocking thread.
async fn lookup(host: &str, port: u16, limit: Duration) -> Result<Arc<[SocketAddr]>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Arc::new([SocketAddr::new(address, port)]));
    }
    let found = timeout(limit, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| Failure::new(Outcome::TimeoutDns, format!("looking up `{host}` took longer than {limit:?}")))?
        .map_err(|error| Failure::new(Outcome::Dns, format!("looking up `{host}`: {}", resolvers_words(&error))))?;
    let mut list: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !list.contains(&address) {
            list.push(address);
        }
    }
    if list.is_empty() {
        return Err(Failure::new(Outcome::Dns, format!("`{host}` has no address")));
    }
    Ok(list.into())
}

/// What the resolver said, without what the standard library puts before it.
fn resolvers_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(host: &str, allow: &Arc<AllowList>) -> Result<Names, PrepareProblem> {
        Names::resolve(host, 80, Duration::from_secs(20), allow).await
    }

    #[tokio::test]
    async fn workers_see_a_new_list_by_its_generation() {
        let names = resolved("127.0.0.1", &Arc::default()).await.unwrap();
        let copy = names.read();
        names.replace(copy.list.clone());
        assert!(names.is_current(&copy), "the same list is no news");
        names.replace(Arc::new(["127.0.0.2:80".parse().unwrap()]));
        assert!(!names.is_current(&copy));
        assert_eq!(names.read().list[0].to_string(), "127.0.0.2:80");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_a_dns_failure() {
        // Over-long labels are refused by the resolver itself; nothing is asked.
        let host = format!("{}.invalid", "x".repeat(64));
        match resolved(&host, &Arc::new(AllowList::any())).await.unwrap_err() {
            PrepareProblem::Name(failure) => assert_eq!(failure.outcome, Outcome::Dns),
            other => panic!("{other}"),
        }
        // Whether it exists is not asked where it is not allowed.
        let refused = resolved(&host, &Arc::default()).await.unwrap_err();
        assert!(matches!(refused, PrepareProblem::NotAllowed(_)), "{refused}");
    }

    #[tokio::test]
    async fn a_name_that_comes_to_lead_elsewhere_is_refused_and_forgotten() {
        let names = resolved("localhost", &Arc::default()).await.unwrap();
        let elsewhere: Arc<[SocketAddr]> =
            Arc::new(["127.0.0.1:80".parse().unwrap(), "169.254.169.254:80".parse().unwrap()]);
        let refused = names.checked(elsewhere).unwrap_err();
        assert_eq!(refused.outcome, Outcome::Dns);
        assert!(refused.detail.contains("`--allow-target 169.254.169.254`"), "{refused}");
        assert!(names.read().list.is_empty(), "no new connection goes to an address from before");
        // It leads back: connections are made again.
        let back = names.lookup_now(Duration::from_secs(20)).await.unwrap();
        assert_eq!(names.read().list, back);
    }
}
