//! A certificate → who it names.
//!
//! The name is a URI among the alternative names: `squall://agent/REGION` or
//! `squall://operator/ROLE/NAME`. Exactly one, or the certificate names nobody.

use super::Role;
use squall_common::plan::Region;
use std::fmt;
use std::net::SocketAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What all our names begin with.
pub const SCHEME: &str = "squall://";
/// The longest name of an operator.
const LONGEST_NAME: usize = 64;
/// What an operator may be called.
pub const NAME_RULE: &str = "write 1 to 64 letters, digits or any of . _ @ -";

/// One end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub address: Option<SocketAddr>,
    /// What its certificate says, when it showed one that our CA signed.
    pub certificate: Option<Certificate>,
}

/// What matters of a verified certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    pub holder: Holder,
    pub not_after_unix_s: i64,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Holder {
    Agent {
        region: Region,
    },
    Operator {
        role: Role,
        name: String,
    },
    /// Signed by our CA, but for nothing that may call a controller.
    Nobody {
        why: String,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { region } => write!(f, "{SCHEME}agent/{region}"),
            Self::Operator { role, name } => write!(f, "{SCHEME}operator/{role}/{name}"),
            Self::Nobody { .. } => f.write_str("a certificate without a role"),
        }
    }
}

/// Whether an operator may be called so: it stands in URIs, file names and logs.
pub fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
    (1..=LONGEST_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// Reads a certificate that the handshake has verified.
pub fn certificate(der: &[u8]) -> Certificate {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => {
            let not_after_unix_s = parsed.validity().not_after.timestamp();
            Certificate { holder: holder(&uris(&parsed)), not_after_unix_s }
        }
        Err(error) => {
            let why = format!("the certificate cannot be read: {error}");
            Certificate { holder: Holder::Nobody { why }, not_after_unix_s: i64::MAX }
        }
    }
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

/// Whom these URIs name together.
pub fn holder(uris: &[String]) -> Holder {
    let ours: Vec<&str> = uris.iter().filter_map(|uri| uri.strip_prefix(SCHEME)).collect();
    let nobody = |why: &str| Holder::Nobody { why: why.to_owned() };
    match ours.as_slice() {
        [] => nobody("it names no agent and no operator (a URI squall://agent/REGION or squall://operator/ROLE/NAME)"),
        [one] => named(one).unwrap_or_else(|| nobody("its squall:// name is not one of an agent or an operator")),
        _ => nobody("it has more than one squall:// name"),
    }
}

fn named(path: &str) -> Option<Holder> {
    let (kind, rest) = path.split_once('/')?;
    match kind {
        "agent" => Some(Holder::Agent { region: Region::new(rest).ok()? }),
        "operator" => {
            let (role, name) = rest.split_once('/')?;
            let role = Role::from_name(role)?;
            is_name(name).then(|| Holder::Operator { role, name: name.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uris: &[&str]) -> Holder {
        holder(&uris.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for uri in ["squall://agent/azure/eastus", "squall://agent/local", "squall://operator/viewer/ann@example.org"] {
            assert_eq!(of(&[uri]).to_string(), uri);
        }
    }

    #[test]
    fn what_is_not_exactly_one_name_is_nobody() {
        for uris in [
            &[][..],
            &["https://example.org/"],
            &["squall://agent/Azure EastUS"],
            &["squall://agent/a/b/c"],
            &["squall://agent/"],
            &["squall://operator/root/ann"],
            &["squall://operator/admin/"],
            &["squall://operator/admin/../ann"],
            &["squall://controller"],
            &["squall://agent/local", "squall://operator/admin/ann"],
        ] {
            assert!(matches!(of(uris), Holder::Nobody { .. }), "{uris:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_name_nobody() {
        assert!(matches!(certificate(b"not DER").holder, Holder::Nobody { .. }));
    }
}
