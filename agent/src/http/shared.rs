//! What all workers of an agent share about one target, made ready before the run.

use super::connect::{self, Offer};
use super::dns::Names;
use super::failure::Failure;
use super::h1::HeadParts;
use super::proxy::{Proxy, proxy_for};
use super::tls::{TlsProblem, TlsSetup};
use crate::clock::now_ns;
use squall_common::allow::{AllowList, NotAllowed};
use squall_common::plan::{ConnectionPolicy, ContentCoding, HttpVersion, Redirects, Scheme, Target};
use squall_common::sample::PhaseTimes;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// The first lookup of a name may take this long.
const FIRST_LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Built once per agent and target; shared by its workers.
#[derive(Debug)]
pub struct TargetShared {
    pub(super) policy: ConnectionPolicy,
    pub(super) scheme: Scheme,
    pub(super) http: HttpVersion,
    pub(super) tls: Option<TlsSetup>,
    pub(super) proxy: Option<Proxy>,
    /// Of the target, or of the proxy when there is one.
    pub(super) names: Names,
    /// `host:port`, as CONNECT wants it.
    pub(super) tunnel_to: String,
    pub(super) authority: String,
    /// `scheme://authority`.
    pub(super) origin: String,
    pub(super) base_path: Vec<u8>,
    pub(super) parts: HeadParts,
    pub(super) accept_encoding: String,
    pub(super) redirects: u8,
    refresh: Duration,
}

/// Why a target cannot be made ready.
#[derive(Debug, thiserror::Error)]
#[error("target `{target}`: {problem}")]
pub struct PrepareError {
    pub target: String,
    #[source]
    pub problem: PrepareProblem,
}

/// What stands in the way, in words for the user.
#[derive(Debug, thiserror::Error)]
pub enum PrepareProblem {
    #[error(transparent)]
    Tls(#[from] TlsProblem),
    #[error("{0}; is the name right, and known where the agent runs?")]
    Name(#[from] Failure),
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("{0}")]
    Proxy(String),
    #[error("reading certificates was interrupted")]
    Interrupted,
}

impl TargetShared {
    /// Loads certificates, reads the proxy variables and looks the host up, the
    /// slow ones side by side. Refuses what `allow` does not hold, now and at every
    /// later lookup.
    pub async fn prepare(target: &Target, allow: &Arc<AllowList>) -> Result<Arc<Self>, PrepareError> {
        Self::prepare_with(target, allow, |name| std::env::var(name).ok()).await
    }

    pub(super) async fn prepare_with(
        target: &Target,
        allow: &Arc<AllowList>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Arc<Self>, PrepareError> {
        let named = |problem: PrepareProblem| PrepareError { target: target.name.clone(), problem };
        let proxy = match target.proxy_from_environment {
            true => proxy_for(target.scheme, &target.host, target.port, variable)
                .map_err(|problem| named(PrepareProblem::Proxy(problem)))?,
            false => None,
        };
        if proxy.is_some() && target.scheme == Scheme::Http && target.http == HttpVersion::Http2 {
            let problem = "HTTP/2 without TLS cannot go through a proxy".to_owned();
            return Err(named(PrepareProblem::Proxy(problem)));
        }
        let mut allow = allow.clone();
        if proxy.is_some() {
            // The proxy looks the name up, so nobody here sees where it leads.
            allow.check_host(&target.host, target.port).map_err(|refusal| named(refusal.into()))?;
            if allow.trusts_proxy() {
                allow = Arc::new(AllowList::any());
            }
        }
        let (host, port) =
            proxy.as_ref().map_or((target.host.as_str(), target.port), |proxy| (proxy.host.as_str(), proxy.port));
        let (names, tls) = tokio::join!(Names::resolve(host, port, FIRST_LOOKUP_LIMIT, &allow), load_tls(target));
        let tls = tls.map_err(named)?;
        let names = names.map_err(named)?;
        Ok(Arc::new(Self::assemble(target, proxy, names, tls)))
    }

    fn assemble(target: &Target, proxy: Option<Proxy>, names: Names, tls: Option<TlsSetup>) -> Self {
        let authority = target.authority();
        let scheme_name = match target.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let origin = format!("{scheme_name}://{authority}");
        let asks_proxy = target.scheme == Scheme::Http && proxy.is_some();
        let origin_prefix = if asks_proxy { origin.clone().into_bytes() } else { Vec::new() };
        let authorization = proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref()).filter(|_| asks_proxy);
        let accept_encoding = coding_names(&target.accept_encoding);
        let parts = HeadParts {
            path_prefix: [&origin_prefix, target.base_path.as_bytes()].concat(),
            origin_prefix,
            host_line: format!("host: {authority}\r\n").into_bytes(),
            accept_line: match accept_encoding.is_empty() {
                true => Vec::new(),
                false => format!("accept-encoding: {accept_encoding}\r\n").into_bytes(),
            },
            proxy_line: authorization
                .map(|value| format!("proxy-authorization: {value}\r\n").into_bytes())
                .unwrap_or_default(),
        };
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        Self {
            policy: target.connections.clone(),
            scheme: target.scheme,
            http: target.http,
            tls,
            proxy,
            names,
            tunnel_to: format!("{host}:{}", target.port),
            authority,
            origin,
            base_path: target.base_path.clone().into_bytes(),
            parts,
            accept_encoding,
            redirects: match target.redirects {
                Redirects::Off => 0,
                Redirects::Follow(most) => most,
            },
            refresh: target.dns.refresh,
        }
    }

    /// Opens one connection, TLS included, and closes it: is the target there?
    /// The failure's text is for the user.
    pub async fn probe(&self) -> Result<(), Failure> {
        let connectors = self.tls.as_ref().map(TlsSetup::connectors);
        let offer = connectors.as_ref().map(|connectors| match self.http {
            HttpVersion::Auto => Offer { connector: &connectors.either, must_be_h2: None },
            HttpVersion::Http1 => Offer { connector: &connectors.http1, must_be_h2: Some(false) },
            HttpVersion::Http2 => Offer { connector: &connectors.http2, must_be_h2: Some(true) },
        });
        let due_ns = super::deadline::due_after(now_ns(), self.policy.connect_timeout.saturating_mul(2));
        let addresses = self.names.read();
        let cursors = connect::Cursors { address: Cell::new(0), source: Cell::new(0) };
        connect::dial(self, &addresses.list, &cursors, offer, due_ns, &mut PhaseTimes::default()).await.map(drop)
    }

    /// Looks the name up again every `dns.refresh` for as long as it is polled; run
    /// it on the control thread. Ends at once when there is nothing to look up.
    pub async fn run_refresh(self: Arc<Self>) {
        self.names.run_refresh(self.refresh).await;
    }

    pub(super) fn decodes(&self) -> bool {
        !self.accept_encoding.is_empty()
    }
}

async fn load_tls(target: &Target) -> Result<Option<TlsSetup>, PrepareProblem> {
    if target.scheme == Scheme::Http {
        return Ok(None);
    }
    let (policy, host) = (target.tls.clone(), target.host.clone());
    let loading = tokio::task::spawn_blocking(move || TlsSetup::load(&policy, &host));
    Ok(Some(loading.await.map_err(|_| PrepareProblem::Interrupted)??))
}

fn coding_names(codings: &[ContentCoding]) -> String {
    let names: Vec<&str> = codings
        .iter()
        .map(|coding| match coding {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Brotli => "br",
            ContentCoding::Deflate => "deflate",
            ContentCoding::Zstd => "zstd",
        })
        .collect();
    names.join(", ")
}
