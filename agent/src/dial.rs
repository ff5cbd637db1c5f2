//! A channel to a controller, plain or with TLS. Certificates are read for
//! every connection, so that a renewed one is shown when the old connection ends.

use crate::tls_files::{TlsFiles, TlsFilesProblem};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

const HTTPS_PORT: u16 = 443;

/// Connects; `tune` sets timeouts and the like.
///
/// In TLS 1.3 a server judges a client's certificate when the client believes that all is well: whoever
/// finds the channel broken learns the cause from the [`Refusal`].
pub async fn connect(
    uri: &Uri,
    tls: &TlsFiles,
    tune: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<(Channel, Refusal), Error> {
    let refusal = Refusal::default();
    let Some(host) = uri.host().filter(|_| uri.scheme_str() == Some("https")) else {
        return Ok((tune(Endpoint::from(uri.clone())).connect().await?, refusal));
    };
    // Addresses of IPv6 stand in brackets in a URL only.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let connector =
        Connector { host, port: uri.port_u16().unwrap_or(HTTPS_PORT), tls: tls.clone(), refusal: refusal.clone() };
    // To tonic the connection is plain: what it is given has its TLS already.
    let plain = uri.to_string().replacen("https://", "http://", 1);
    let endpoint = Endpoint::from_shared(plain)?.origin(uri.clone());
    Ok((tune(endpoint).connect_with_connector(connector).await?, refusal))
}

/// What the last TLS connection broke by, which HTTP/2 does not pass on.
#[derive(Clone, Debug, Default)]
pub struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// In words for people.
    pub fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, error: &io::Error) {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tls_in_words(tls));
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
enum NotDialled {
    #[error(transparent)]
    Files(#[from] TlsFilesProblem),
    #[error("`{0}` is not a name or address that a certificate can be for")]
    Name(String),
    // Not transparent: the error that it wraps is looked for below it.
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[derive(Clone)]
struct Connector {
    host: String,
    port: u16,
    tls: TlsFiles,
    refusal: Refusal,
}

impl Connector {
    async fn dial(self) -> Result<TokioIo<Dialled>, NotDialled> {
        let name = ServerName::try_from(self.host.clone()).map_err(|_| NotDialled::Name(self.host.clone()))?;
        let config = self.tls.client_config()?;
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let io = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(TokioIo::new(Dialled { io, refusal: self.refusal }))
    }
}

/// A connection that remembers what it broke by.
struct Dialled {
    io: TlsStream<TcpStream>,
    refusal: Refusal,
}

impl AsyncRead for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.refusal.note(error);
        }
        read
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Dialled>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialled = self.clone().dial();
        Box::pin(async move { Ok(dialled.await?) })
    }
}

/// The cause below all others, in words for people: the outer ones say only that there is one.
pub fn why(error: &(dyn StdError + 'static)) -> String {
    let innermost = causes(error).last().unwrap_or(error);
    if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<TlsError>()) {
        return tls_in_words(tls);
    }
    match innermost.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::TimedOut) => "it does not answer".to_owned(),
        Some(io::ErrorKind::UnexpectedEof) => "it closed the connection: does it speak TLS (https://)?".to_owned(),
        _ => {
            let text = innermost.to_string();
            text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
        }
    }
}

/// An I/O error does not name the error it wraps as its source, but that one's source.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

fn tls_in_words(error: &TlsError) -> String {
    use CertificateError as Bad;
    let text = match error {
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate: name yours with --tls-cert and --tls-key"
        }
        TlsError::AlertReceived(AlertDescription::CertificateExpired) => {
            "the certificate of --tls-cert has expired: `squall certs renew` makes a new one"
        }
        TlsError::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate,
        ) => "it does not trust the certificate of --tls-cert: another CA signed it",
        TlsError::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "its certificate is signed by a CA that is not trusted here: --tls-ca names the one that signed it"
        }
        TlsError::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "its certificate has expired",
        TlsError::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name: `squall certs controller --host NAME` makes one for this"
        }
        TlsError::InvalidMessage(_) => "it does not speak TLS: http:// may be meant",
        other => return other.to_string(),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_inside_an_io_error_is_found_and_told_in_words() {
        let alert = TlsError::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert!(why(&error).contains("--tls-cert"), "{}", why(&error));
    }

    #[test]
    fn the_system_is_quoted_in_few_words() {
        assert_eq!(why(&io::Error::from(io::ErrorKind::ConnectionRefused)), "connection refused");
    }
}
