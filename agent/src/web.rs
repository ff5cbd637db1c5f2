//! Requests that are no load: to token endpoints and the like.

use rustls::crypto::ring;
use squall_common::allow::AllowList;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A client that trusts the system's roots and follows no redirect.
/// `resolved`: where its one host is, instead of a lookup of its own.
pub fn client(limit: Duration, resolved: Option<(&str, &[SocketAddr])>) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(limit)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let client = match resolved {
        Some((host, addresses)) => client.resolve_to_addrs(host, addresses),
        None => client,
    };
    client.build().map_err(|error| error.to_string())
}

/// Where the host is now, if requests may go to all of it.
pub async fn resolve_allowed(host: &str, port: u16, allow: &AllowList) -> Result<Vec<SocketAddr>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(error) => {
            allow.check_host(bare, port).map_err(|refusal| refusal.to_string())?;
            return Err(format!("`{host}` cannot be looked up: {error}"));
        }
    };
    allow.check_addresses(bare, port, &addresses).map_err(|refusal| refusal.to_string())?;
    Ok(addresses)
}
