//! How etcd is reached, and who we are there.

use super::keys;
use std::path::PathBuf;
use std::time::Duration;

/// A leader that is gone is replaced within about this time. Well below the agents' load lease
/// (10 s), so that load goes on while another controller takes over.
const TTL: Duration = Duration::from_secs(5);
/// etcd counts pings that come more often than every 5 s as abuse and closes the connection.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Flags that name an etcd cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct EtcdArgs {
    /// etcd servers that several controllers of one fleet share, comma-separated
    #[arg(long = "etcd", value_name = "URL,…", value_delimiter = ',', env = "SQUALL_ETCD")]
    pub endpoints: Vec<String>,
    /// Authority that signed the etcd servers' certificates (PEM)
    #[arg(long = "etcd-ca", value_name = "FILE", requires = "endpoints")]
    pub ca: Option<PathBuf>,
    /// Certificate that shows etcd who we are (PEM)
    #[arg(long = "etcd-cert", value_name = "FILE", requires_all = ["endpoints", "key"])]
    pub cert: Option<PathBuf>,
    /// Key of --etcd-cert (PEM)
    #[arg(long = "etcd-key", value_name = "FILE", requires_all = ["endpoints", "cert"])]
    pub key: Option<PathBuf>,
    /// Name of the fleet in etcd; fleets that share etcd servers need different ones
    #[arg(long, value_name = "NAME", default_value = "default", requires = "endpoints")]
    pub fleet: String,
}

/// Files for TLS to etcd. They are read again whenever a connection is made anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsFiles {
    pub ca: Option<PathBuf>,
    /// Certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// All there is to know before the first connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// With their scheme.
    pub endpoints: Vec<String>,
    /// `None`: plain text.
    pub tls: Option<TlsFiles>,
    pub fleet: String,
    /// Where agents and operators reach this controller: what a standby answers in its leader's name.
    pub address: String,
    pub build: String,
    pub ttl: Duration,
}

impl EtcdArgs {
    /// `None` without `--etcd`. All problems at once.
    pub fn checked(self, address: impl Into<String>) -> Result<Option<Options>, Vec<String>> {
        if self.endpoints.is_empty() {
            return Ok(None);
        }
        let mut problems = Vec::new();
        let names_tls_files = self.ca.is_some() || self.cert.is_some();
        for endpoint in &self.endpoints {
            match endpoint.split_once("://") {
                Some(("https", rest)) if is_host_and_port(rest) => {}
                Some(("http", rest)) if is_host_and_port(rest) => {
                    if names_tls_files {
                        problems
                            .push(format!("--etcd {endpoint} is plain text but TLS files are named: write https://"));
                    }
                }
                _ => problems.push(format!("--etcd {endpoint}: write http://HOST:PORT or https://HOST:PORT")),
            }
        }
        let is_tls = |endpoint: &String| endpoint.starts_with("https://");
        if problems.is_empty() && self.endpoints.iter().any(is_tls) != self.endpoints.iter().all(is_tls) {
            problems.push("--etcd names some servers with https:// and some with http://: use one for all".to_owned());
        }
        if !keys::is_fleet_name(&self.fleet) {
            problems.push(format!("--fleet {}: use up to 63 of a-z, 0-9, `-` and `_`", self.fleet));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let tls =
            self.endpoints.iter().any(is_tls).then(|| TlsFiles { ca: self.ca, identity: self.cert.zip(self.key) });
        let options = Options { tls, ..Options::new(self.endpoints, self.fleet, address) };
        Ok(Some(options))
    }
}

fn is_host_and_port(rest: &str) -> bool {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    matches!(rest.rsplit_once(':'), Some((host, port)) if !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok())
}

impl Options {
    /// Plain text, the usual times, this build.
    pub fn new(endpoints: Vec<String>, fleet: impl Into<String>, address: impl Into<String>) -> Self {
        let (fleet, address) = (fleet.into(), address.into());
        Self { endpoints, tls: None, fleet, address, build: env!("CARGO_PKG_VERSION").to_owned(), ttl: TTL }
    }

    /// A single request's time; a third of the lease, so that two more can be tried within its life.
    pub fn request_timeout(&self) -> Duration {
        (self.ttl / 3).clamp(Duration::from_millis(500), Duration::from_secs(3))
    }

    pub(super) fn ping(&self) -> (Duration, Duration) {
        (PING_EVERY, PING_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        etcd: EtcdArgs,
    }

    fn checked(arguments: &str) -> Result<Option<Options>, Vec<String>> {
        let words = std::iter::once("squall").chain(arguments.split_whitespace());
        Command::try_parse_from(words).map_err(|error| vec![error.to_string()])?.etcd.checked("http://127.0.0.1:7700")
    }

    #[test]
    fn without_servers_there_is_no_etcd() {
        assert!(checked("").unwrap().is_none());
    }

    #[test]
    fn several_servers_are_one_cluster() {
        let options = checked("--etcd https://a:2379,https://b:2379 --etcd-ca ca.pem --fleet blue").unwrap().unwrap();
        assert_eq!(options.endpoints, ["https://a:2379", "https://b:2379"]);
        assert_eq!(options.tls, Some(TlsFiles { ca: Some("ca.pem".into()), identity: None }));
        assert_eq!(options.fleet, "blue");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let problems = checked("--etcd a:2379,http://b:2379/x,ftp://c:1 --fleet Blue/Green").unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }

    #[test]
    fn tls_files_without_tls_are_a_mistake() {
        let problems = checked("--etcd http://a:2379 --etcd-ca ca.pem").unwrap_err();
        assert!(problems[0].contains("write https://"), "{problems:?}");
    }

    #[test]
    fn half_an_identity_is_a_mistake() {
        assert!(checked("--etcd https://a:2379 --etcd-cert me.pem").is_err());
    }
}
