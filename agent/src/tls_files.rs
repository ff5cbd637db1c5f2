//! Certificates between Squall's own parts: which files, and what TLS makes of them.
//!
//! TLS 1.3 only, since both ends are ours, and no resumption: a resumed session
//! would outlive the certificate, or the authority, that it began with.

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// HTTP/2, which is all that gRPC speaks.
const ALPN: &[u8] = b"h2";

/// Where this process finds its certificate, its key, and whom it trusts. The files are read again
/// when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct TlsFiles {
    /// This side's certificate and its chain, PEM
    #[arg(long, value_name = "FILE", env = "SQUALL_TLS_CERT", requires = "tls_key", help_heading = "TLS")]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, value_name = "FILE", env = "SQUALL_TLS_KEY", requires = "tls_cert", help_heading = "TLS")]
    pub tls_key: Option<PathBuf>,
    /// The CA that signed the other side's certificate, PEM
    #[arg(long, value_name = "FILE", env = "SQUALL_TLS_CA", help_heading = "TLS")]
    pub tls_ca: Option<PathBuf>,
}

/// What is wrong with the files, in words for the user.
#[derive(Debug, Error)]
pub enum TlsFilesProblem {
    #[error("{flag} {path}: it cannot be read: {}", in_words(error), path = path.display())]
    Unreadable { flag: &'static str, path: PathBuf, error: std::io::Error },
    #[error("{flag} {path}: there is no {what} in it (PEM is wanted)", path = path.display())]
    Empty { flag: &'static str, path: PathBuf, what: &'static str },
    #[error("{flag} {path}: {error}", path = path.display())]
    Unusable { flag: &'static str, path: PathBuf, error: String },
    #[error("the system has no root certificates: name the controller's CA with --tls-ca")]
    NoRoots,
    #[error("a server wants --tls-cert, --tls-key and --tls-ca together: `squall certs init` makes such files")]
    Incomplete,
    #[error("the TLS library refused its configuration: {0}")]
    Library(#[from] rustls::Error),
}

/// Whether a server talks to clients without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// The handshake fails without one.
    NeedCertificates,
    /// They may prove who they are in another way; one that is shown must be good.
    MayShowCertificates,
}

type Problem = TlsFilesProblem;

/// Without the system's number.
fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        _ => error.to_string(),
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| Problem::Unreadable { flag, path: path.to_owned(), error })
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let text = read(flag, path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::Unusable { flag, path: path.to_owned(), error: error.to_string() })?;
    match all.is_empty() {
        true => Err(Problem::Empty { flag, path: path.to_owned(), what: "certificate" }),
        false => Ok(all),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let flag = "--tls-key";
    PrivateKeyDer::from_pem_slice(&read(flag, path)?).map_err(|_| Problem::Empty {
        flag,
        path: path.to_owned(),
        what: "private key",
    })
}

fn authorities(path: &Path) -> Result<RootCertStore, Problem> {
    let flag = "--tls-ca";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(flag, path)? {
        roots.add(certificate).map_err(|error| Problem::Unusable {
            flag,
            path: path.to_owned(),
            error: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// What any server on the Internet is checked with, when no CA is named.
fn system_roots() -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(Problem::NoRoots) } else { Ok(roots) }
}

impl TlsFiles {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every file named, to see whether one has changed.
    pub fn paths(&self) -> Vec<PathBuf> {
        [&self.tls_cert, &self.tls_key, &self.tls_ca].into_iter().flatten().cloned().collect()
    }

    /// For the side that dials.
    pub fn client_config(&self) -> Result<ClientConfig, Problem> {
        let roots = self.tls_ca.as_deref().map_or_else(system_roots, authorities)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key_path)) => builder
                .with_client_auth_cert(certificates("--tls-cert", cert)?, key(key_path)?)
                .map_err(|error| not_a_pair(cert, &error))?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// For the side that listens.
    pub fn server_config(&self, clients: Clients) -> Result<ServerConfig, Problem> {
        let (Some(cert), Some(key_path), Some(ca)) = (&self.tls_cert, &self.tls_key, &self.tls_ca) else {
            return Err(Problem::Incomplete);
        };
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(ca)?), provider.clone());
        let verifier = match clients {
            Clients::NeedCertificates => verifier,
            Clients::MayShowCertificates => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| Problem::Unusable {
            flag: "--tls-ca",
            path: ca.clone(),
            error: error.to_string(),
        })?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates("--tls-cert", cert)?, key(key_path)?)
            .map_err(|error| not_a_pair(cert, &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn not_a_pair(cert: &Path, error: &rustls::Error) -> Problem {
    let error = match error {
        rustls::Error::InconsistentKeys(_) => "it does not belong to the key of --tls-key".to_owned(),
        other => other.to_string(),
    };
    Problem::Unusable { flag: "--tls-cert", path: cert.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_no_pem_is_named_with_its_flag() {
        let missing = TlsFiles { tls_ca: Some("/nowhere/ca.pem".into()), ..TlsFiles::default() };
        let told = missing.client_config().unwrap_err().to_string();
        assert!(told.starts_with("--tls-ca /nowhere/ca.pem: it cannot be read"), "{told}");
        let told = missing.server_config(Clients::NeedCertificates).unwrap_err().to_string();
        assert!(told.contains("together") && told.contains("squall certs init"), "{told}");
    }

    #[test]
    fn a_key_of_another_certificate_is_told() {
        let dir = std::env::temp_dir();
        let path = |name: &str| dir.join(format!("squall-tls-files-{}-{name}", std::process::id()));
        let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        std::fs::write(path("cert"), one.cert.pem()).unwrap();
        std::fs::write(path("key"), other.signing_key.serialize_pem()).unwrap();
        let files = TlsFiles { tls_cert: Some(path("cert")), tls_key: Some(path("key")), tls_ca: Some(path("cert")) };
        let told = files.client_config().unwrap_err().to_string();
        assert!(told.contains("does not belong to the key"), "{told}");
        for name in ["cert", "key"] {
            std::fs::remove_file(path(name)).unwrap();
        }
    }
}
