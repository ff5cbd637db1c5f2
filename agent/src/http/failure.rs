//! Errors of sockets, TLS and framing, sorted into outcomes.

use rustix::io::Errno;
use squall_common::sample::Outcome;
use std::borrow::Cow;
use std::io;

/// Why there is no whole response.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    pub outcome: Outcome,
    /// For people: one clause, no period.
    pub detail: Cow<'static, str>,
}

impl Failure {
    pub(super) fn new(outcome: Outcome, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { outcome, detail: detail.into() }
    }

    /// An error before the connection stood.
    pub(super) fn connecting(error: &io::Error) -> Self {
        let outcome = limit_of_generator(error).unwrap_or(match error.kind() {
            io::ErrorKind::ConnectionRefused => Outcome::ConnectRefused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Outcome::ConnectReset,
            // The kernel gave up on its SYNs before our own limit did.
            io::ErrorKind::TimedOut => Outcome::TimeoutConnect,
            _ => Outcome::ConnectFailed,
        });
        Self::new(outcome, format!("connecting: {error}"))
    }

    /// An error during the TLS handshake.
    pub(super) fn handshaking(error: &io::Error) -> Self {
        let outcome = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Outcome::ConnectReset,
            _ => Outcome::Tls,
        };
        Self::new(outcome, format!("TLS handshake: {}", refused_handshake(error)))
    }

    /// An error on a standing connection. `answered`: response bytes had been read.
    pub(super) fn exchanging(error: &io::Error, answered: bool) -> Self {
        let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        let outcome = match error.kind() {
            _ if is_tls => Outcome::Tls,
            _ if answered => Outcome::Truncated,
            io::ErrorKind::TimedOut => Outcome::ConnectFailed,
            _ => Outcome::ConnectReset,
        };
        Self::new(outcome, error.to_string())
    }

    /// The target closed the connection. `answered`: response bytes had been read.
    pub(super) fn closed(answered: bool) -> Self {
        if answered {
            Self::new(Outcome::Truncated, "connection closed before the end of the response")
        } else {
            Self::new(Outcome::ConnectReset, "connection closed before a response")
        }
    }
}

/// What a handshake failed of, and what to do about it.
fn refused_handshake(error: &io::Error) -> Cow<'static, str> {
    use rustls::{CertificateError as Certificate, Error, InvalidMessage};
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return error.to_string().into();
    };
    match cause {
        Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "nobody trusted vouches for its certificate; trust who does: `tls: {ca: FILE}`".into()
        }
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired; renew it, or do not verify it: `tls: {insecure: true}`".into()
        }
        Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; set the clocks right".into()
        }
        Error::InvalidCertificate(Certificate::NotValidForNameContext { expected, presented }) => format!(
            "its certificate is for {}, not for {}; expect another name: `tls: {{server_name: NAME}}`",
            presented.iter().map(|name| certified_name(name)).collect::<Vec<_>>().join(", "),
            expected.to_str()
        )
        .into(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it answers, but not with TLS; if it has none, write `http://…`".into()
        }
        other => other.to_string().into(),
    }
}

/// rustls names what a certificate is for as `DnsName("shop.example")`.
fn certified_name(shown: &str) -> &str {
    shown.split('"').nth(1).unwrap_or(shown)
}

/// Out of ports or descriptors: ours, not the target's.
fn limit_of_generator(error: &io::Error) -> Option<Outcome> {
    match Errno::from_io_error(error)? {
        Errno::ADDRNOTAVAIL => Some(Outcome::GeneratorNoPorts),
        Errno::MFILE | Errno::NFILE => Some(Outcome::GeneratorNoFds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_ports_or_descriptors_is_the_generators_limit() {
        let of = |errno: Errno| Failure::connecting(&io::Error::from(errno)).outcome;
        assert_eq!(of(Errno::ADDRNOTAVAIL), Outcome::GeneratorNoPorts);
        assert_eq!(of(Errno::MFILE), Outcome::GeneratorNoFds);
        assert_eq!(of(Errno::NFILE), Outcome::GeneratorNoFds);
        assert_eq!(of(Errno::CONNREFUSED), Outcome::ConnectRefused);
        assert_eq!(of(Errno::HOSTUNREACH), Outcome::ConnectFailed);
    }
}
