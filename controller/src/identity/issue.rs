//! Makes certificates, and reads again what they are for.

use super::Role;
use super::peer::{self, Holder};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use squall_common::plan::Region;
use std::net::IpAddr;
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

/// Clocks of others may be behind by so much.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Names and addresses that it is dialled by.
    Controller {
        hosts: Vec<String>,
    },
    Agent {
        region: Region,
    },
    Operator {
        role: Role,
        name: String,
    },
}

/// A certificate and its key, PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    pub not_after: OffsetDateTime,
}

/// What a certificate is for, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub subject: Subject,
    pub not_after: OffsetDateTime,
}

impl Known {
    /// Certificates count whole seconds, and are good in their last one.
    pub fn has_expired(&self, now: OffsetDateTime) -> bool {
        self.not_after.unix_timestamp() < now.unix_timestamp()
    }
}

/// The CA of one cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

impl Subject {
    /// The name of its files, without the ending.
    pub fn file_stem(&self) -> String {
        match self {
            Self::Controller { .. } => "controller".to_owned(),
            Self::Agent { region } => format!("agent-{}", region.as_str().replace('/', "-")),
            Self::Operator { name, .. } => format!("operator-{name}"),
        }
    }

    /// As lists show it.
    pub fn names(&self) -> String {
        match self {
            Self::Controller { hosts } => hosts.join(", "),
            Self::Agent { region } => Holder::Agent { region: region.clone() }.to_string(),
            Self::Operator { role, name } => Holder::Operator { role: *role, name: name.clone() }.to_string(),
        }
    }

    fn alternative_names(&self) -> Result<Vec<SanType>, String> {
        let uri = |uri: String| uri.try_into().map(SanType::URI).map_err(|error: rcgen::Error| error.to_string());
        match self {
            Self::Controller { hosts } => hosts.iter().map(|name| host(name)).collect(),
            Self::Agent { .. } | Self::Operator { .. } => Ok(vec![uri(self.names())?]),
        }
    }
}

/// An address, or a name that DNS could have.
pub fn host(name: &str) -> Result<SanType, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.*".contains(&b));
    let dns = Some(name).filter(|_| is_name).and_then(|name| name.try_into().ok().map(SanType::DnsName));
    dns.ok_or_else(|| format!("`{name}` is no host name and no address: write e.g. squall.example.org or 10.0.0.5"))
}

/// A new CA.
pub fn authority(now: OffsetDateTime, valid_for: Duration) -> Result<Issued, String> {
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    // The time keeps two CAs apart in messages and in chains.
    let mut params = params(&format!("Squall CA {}", now.unix_timestamp_nanos()), now, now + valid_for);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let not_after = params.not_after;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), not_after })
}

fn params(common_name: &str, now: OffsetDateTime, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now - BACKDATED;
    params.not_after = not_after;
    params.use_authority_key_identifier_extension = true;
    params
}

impl Authority {
    pub fn read(certificate_pem: &str, key_pem: &str) -> Result<Self, String> {
        let key = KeyPair::from_pem(key_pem).map_err(|error| format!("its key: {error}"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(|error| error.to_string())?;
        let not_after = parsed(certificate_pem.as_bytes(), |ca| ca.validity().not_after.to_datetime())?;
        Ok(Self { issuer, not_after })
    }

    /// A certificate with a new key, valid no longer than the CA itself.
    pub fn issue(&self, subject: &Subject, now: OffsetDateTime, valid_for: Duration) -> Result<Issued, String> {
        let not_after = (now + valid_for).min(self.not_after);
        if not_after <= now {
            return Err("the CA itself has expired: begin a new one in another --dir".to_owned());
        }
        let mut params = params(&subject.file_stem(), now, not_after);
        params.subject_alt_names = subject.alternative_names()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A controller is never taken for an agent, nor an agent for a controller.
        params.extended_key_usages = vec![match subject {
            Subject::Controller { .. } => ExtendedKeyUsagePurpose::ServerAuth,
            Subject::Agent { .. } | Subject::Operator { .. } => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| error.to_string())?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), not_after })
    }
}

fn parsed<T>(pem: &[u8], read: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, String> {
    let (_, pem) = parse_x509_pem(pem).map_err(|_| "there is no certificate in it".to_owned())?;
    let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
    Ok(read(&certificate))
}

/// Reads whom a certificate of ours is for.
pub fn known(pem: &[u8]) -> Result<Known, String> {
    parsed(pem, |certificate| {
        let not_after = certificate.validity().not_after.to_datetime();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let (mut hosts, mut uris) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => hosts.extend(address(bytes).map(|address| address.to_string())),
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        let subject = match peer::holder(&uris) {
            Holder::Agent { region } => Subject::Agent { region },
            Holder::Operator { role, name } => Subject::Operator { role, name },
            Holder::Nobody { .. } if !hosts.is_empty() => Subject::Controller { hosts },
            Holder::Nobody { why } => return Err(why),
        };
        Ok(Known { subject, not_after })
    })?
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap()
    }

    fn ca(valid_for: Duration) -> Authority {
        let made = authority(now(), valid_for).unwrap();
        Authority::read(&made.certificate, &made.key).unwrap()
    }

    #[test]
    fn what_a_certificate_is_for_is_read_from_it_again() {
        let ca = ca(100 * DAY);
        for subject in [
            Subject::Controller { hosts: vec!["squall.example".into(), "10.0.0.5".into(), "::1".into()] },
            Subject::Agent { region: Region::new("azure/eastus").unwrap() },
            Subject::Operator { role: Role::Viewer, name: "ann@example.org".into() },
        ] {
            let issued = ca.issue(&subject, now(), 90 * DAY).unwrap();
            let known = known(issued.certificate.as_bytes()).unwrap();
            assert_eq!((&known.subject, known.not_after), (&subject, now() + 90 * DAY));
        }
    }

    #[test]
    fn nothing_outlives_its_authority() {
        let subject = Subject::Agent { region: Region::new("local").unwrap() };
        let issued = ca(10 * DAY).issue(&subject, now(), 90 * DAY).unwrap();
        assert_eq!(issued.not_after, now() + 10 * DAY);
        let later = ca(10 * DAY).issue(&subject, now() + 11 * DAY, 90 * DAY);
        assert!(later.err().unwrap().contains("expired"));
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for name in ["localhost", "squall.example.org", "10.0.0.5", "::1", "*.example.org"] {
            assert!(host(name).is_ok(), "{name}");
        }
        for name in ["", "https://squall", "a b", "squall:7700", "[::1]"] {
            assert!(host(name).is_err(), "{name}");
        }
    }
}
