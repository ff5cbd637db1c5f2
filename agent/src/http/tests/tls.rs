use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use squall_common::plan::{ClientCertificate, PemSource};
use squall_common::sample::Outcome;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate authority and one certificate of it for `name`.
pub(super) struct Authority {
    pub(super) ca_pem: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { ca_pem: issuer.pem(), issuer }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(super) fn acceptor(&self, name: &str, alpn: &[&[u8]], asks_client: bool) -> TlsAcceptor {
        let (certificate, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if asks_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub(super) async fn serve_tls<F: Future<Output = ()> + 'static>(
    acceptor: TlsAcceptor,
    script: impl Fn(TlsStream<TcpStream>) -> F + Clone + 'static,
) -> SocketAddr {
    serve(move |_, peer| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            if let Ok(stream) = acceptor.accept(peer.0).await {
                script(stream).await;
            }
        }
    })
    .await
}

pub(super) fn tls_target(address: SocketAddr, ca_pem: &str) -> Target {
    let mut target = target_at(address);
    target.scheme = Scheme::Https;
    target.tls.extra_ca = Some(PemSource::Inline(ca_pem.to_owned().into()));
    target
}

async fn hello_over_tls(authority: &Authority, name: &str, asks_client: bool) -> SocketAddr {
    serve_tls(authority.acceptor(name, &[], asks_client), |stream| async move { Peer(stream).answer_all(HELLO).await })
        .await
}

#[test]
fn an_extra_authority_is_trusted_and_the_connection_is_kept() {
    worker(async {
        let authority = Authority::new();
        let address = hello_over_tls(&authority, "127.0.0.1", false).await;
        let client = client_of(&tls_target(address, &authority.ca_pem)).await;
        let (attempt, response) = fetch(&client, PATIENT).await;
        assert_eq!((attempt.outcome, response.body()), (Outcome::Ok, &b"hello"[..]), "{:?}", attempt.detail);
        assert!(attempt.phases.tls_us.is_some());
        // Session tickets arrive in the meantime; they are no stray bytes.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(fetch(&client, PATIENT).await.0.outcome, Outcome::Ok);
        assert_eq!(client.opened_total(), 1);
    });
}

#[test]
fn a_certificate_that_does_not_fit_is_a_tls_failure_unless_verification_is_off() {
    worker(async {
        let authority = Authority::new();
        let address = hello_over_tls(&authority, "elsewhere.test", false).await;
        let mut target = tls_target(address, &authority.ca_pem);
        let (attempt, _) = fetch(&*client_of(&target).await, PATIENT).await;
        assert_eq!((attempt.outcome, attempt.sent_ns), (Outcome::Tls, None));
        target.tls.server_name = Some("elsewhere.test".to_owned());
        assert_eq!(fetch(&*client_of(&target).await, PATIENT).await.0.outcome, Outcome::Ok);
        target.tls = TlsPolicy { insecure: true, ..TlsPolicy::default() };
        assert_eq!(fetch(&*client_of(&target).await, PATIENT).await.0.outcome, Outcome::Ok);
    });
}

#[test]
fn a_client_certificate_is_shown_when_the_plan_has_one() {
    worker(async {
        let authority = Authority::new();
        let address = hello_over_tls(&authority, "127.0.0.1", true).await;
        let mut target = tls_target(address, &authority.ca_pem);
        assert!(!fetch(&*client_of(&target).await, PATIENT).await.0.outcome.is_ok());
        let (certificate, key) = authority.issue("agent.test");
        target.tls.client_certificate = Some(ClientCertificate {
            certificate: PemSource::Inline(certificate.pem().into()),
            key: PemSource::Inline(key.serialize_pem().into()),
        });
        let (attempt, _) = fetch(&*client_of(&target).await, PATIENT).await;
        assert_eq!(attempt.outcome, Outcome::Ok, "{:?}", attempt.detail);
    });
}

#[test]
fn a_silent_handshake_times_out_in_tls_and_a_plain_server_fails_it() {
    worker(async {
        let silent = serve(|_, mut peer| async move { peer.stall().await }).await;
        let plain = serve(|_, mut peer| async move {
            peer.send(HELLO).await;
            peer.stall().await;
        })
        .await;
        let ca_pem = Authority::new().ca_pem;
        for (address, expected) in [(silent, Outcome::TimeoutTls), (plain, Outcome::Tls)] {
            let (attempt, _) = fetch(&*client_of(&tls_target(address, &ca_pem)).await, IMPATIENT * 4).await;
            assert_eq!((attempt.outcome, attempt.sent_ns), (expected, None));
        }
    });
}
