//! TLS as the plan asks for it.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use squall_common::plan::{ClientCertificate, PemSource, TlsPolicy};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Sessions a worker remembers for resumption.
const SESSIONS_KEPT: usize = 64;

/// What is wrong with a target's certificates, in words for the user.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    #[error("the {what} `{path}` cannot be read: {error}")]
    Unreadable { what: &'static str, path: String, error: std::io::Error },
    #[error("the {what} is not PEM: {error}")]
    NotPem { what: &'static str, error: rustls::pki_types::pem::Error },
    #[error("the {what} has no certificate in it")]
    Empty { what: &'static str },
    #[error("the CA certificate cannot be used: {0}")]
    BadCa(rustls::Error),
    #[error("the client certificate and its key cannot be used: {0}")]
    BadClient(rustls::Error),
    #[error("the system has no root certificates{0}; give the plan a CA, or install them")]
    NoRoots(String),
    #[error("`{0}` is not a name or address that a certificate can be for")]
    BadName(String),
    #[error("the TLS library refused its configuration: {0}")]
    Library(rustls::Error),
}

/// What a target's handshakes start from.
#[derive(Clone, Debug)]
pub(super) struct TlsSetup {
    config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

/// One worker's connectors, one for each protocol it may want. They share the
/// worker's session cache and no other.
pub(super) struct Connectors {
    pub(super) either: TlsConnector,
    pub(super) http1: TlsConnector,
    pub(super) http2: TlsConnector,
}

impl TlsSetup {
    /// Reads certificates and keys: blocking, and tens of milliseconds when the
    /// system's roots are among them.
    pub(super) fn load(policy: &TlsPolicy, host: &str) -> Result<Self, TlsProblem> {
        let provider = Arc::new(ring::default_provider());
        let name = policy.server_name.as_deref().unwrap_or(host).to_owned();
        let server_name = ServerName::try_from(name.clone()).map_err(|_| TlsProblem::BadName(name))?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsProblem::Library)?;
        let builder = if policy.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
        } else {
            let roots = roots(policy.extra_ca.as_ref())?;
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| TlsProblem::NoRoots(format!(" ({error})")))?;
            builder.with_webpki_verifier(verifier)
        };
        let config = match &policy.client_certificate {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (chain, key) = client_identity(client)?;
                builder.with_client_auth_cert(chain, key).map_err(TlsProblem::BadClient)?
            }
        };
        Ok(Self { config: Arc::new(config), server_name })
    }

    pub(super) fn connectors(&self) -> Connectors {
        let sessions = Resumption::in_memory_sessions(SESSIONS_KEPT);
        let offering = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::clone(&self.config);
            config.resumption = sessions.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Connectors {
            either: offering(&[b"h2", b"http/1.1"]),
            http1: offering(&[b"http/1.1"]),
            http2: offering(&[b"h2"]),
        }
    }
}

fn roots(extra_ca: Option<&PemSource>) -> Result<RootCertStore, TlsProblem> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // Single roots that do not parse are common on real systems and harmless.
    roots.add_parsable_certificates(native.certs);
    if let Some(source) = extra_ca {
        for certificate in certificates("CA certificate", source)? {
            roots.add(certificate).map_err(TlsProblem::BadCa)?;
        }
    }
    if roots.is_empty() {
        let why = native.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(TlsProblem::NoRoots(why));
    }
    Ok(roots)
}

fn client_identity(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsProblem> {
    let chain = certificates("client certificate", &client.certificate)?;
    let what = "client key";
    let key = PrivateKeyDer::from_pem_slice(&text_of(what, &client.key)?)
        .map_err(|error| TlsProblem::NotPem { what, error })?;
    Ok((chain, key))
}

fn certificates(what: &'static str, source: &PemSource) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let text = text_of(what, source)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsProblem::NotPem { what, error })?;
    if certificates.is_empty() { Err(TlsProblem::Empty { what }) } else { Ok(certificates) }
}

fn text_of(what: &'static str, source: &PemSource) -> Result<Vec<u8>, TlsProblem> {
    match source {
        PemSource::Inline(text) => Ok(text.to_vec()),
        PemSource::AgentPath(path) => {
            std::fs::read(path).map_err(|error| TlsProblem::Unreadable { what, path: path.clone(), error })
        }
    }
}

/// `insecure`: any certificate will do, but the peer must own its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
