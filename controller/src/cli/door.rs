//! Who may come to `squall serve`: TLS, tokens, or `--insecure`.

use crate::identity::accept::Certificates;
use crate::identity::access::Trust;
use crate::identity::jwt::{Expected, Source, Tokens};
use crate::identity::transport::Transport;
use squall_agent::reread::Reread;
use squall_agent::tls_files::{Clients, TlsFiles};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Flags of `squall serve` about who may come in.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DoorArgs {
    /// Listen beyond this machine without TLS: anyone there can start load
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key", "tls_ca"])]
    pub insecure: bool,
    #[command(flatten)]
    pub tls: TlsFiles,
    /// Take operators' tokens signed with this key: a secret (HS256) or a public
    /// key in PEM (RS256, ES256)
    #[arg(long, value_name = "FILE", help_heading = "Tokens", conflicts_with = "jwks")]
    pub jwt_key: Option<PathBuf>,
    /// Take operators' tokens signed with a key of this JSON Web Key Set
    #[arg(long, value_name = "URL|FILE", help_heading = "Tokens", requires = "jwt_issuer")]
    pub jwks: Option<String>,
    /// Who must have issued a token (`iss`)
    #[arg(long, value_name = "TEXT", help_heading = "Tokens")]
    pub jwt_issuer: Option<String>,
    /// Whom a token must be for (`aud`)
    #[arg(long, value_name = "TEXT", help_heading = "Tokens", default_value = "squall")]
    pub jwt_audience: String,
}

/// What the flags come to.
#[derive(Debug)]
pub struct Door {
    pub transport: Transport,
    pub trust: Trust,
    pub certificates: Option<Certificates>,
    pub tokens: Option<Tokens>,
}

/// How a controller on `listen` may be reached, or why it may not be.
pub fn transport(listen: SocketAddr, args: &DoorArgs) -> Result<Transport, String> {
    let takes_tokens = args.jwt_key.is_some() || args.jwks.is_some();
    match (listen.ip().is_loopback(), args.tls.is_empty(), args.insecure) {
        (_, false, _) => Ok(Transport::MutualTls),
        (true, true, _) => Ok(Transport::Loopback),
        (false, true, true) if takes_tokens => Err(format!(
            "{listen} with --insecure: tokens would travel in the clear; add --tls-cert, --tls-key and --tls-ca instead"
        )),
        (false, true, true) => Ok(Transport::Insecure),
        (false, true, false) => Err(format!(
            "{listen} can be reached from other machines, and whoever reaches a controller without TLS can send load \
             anywhere: `squall certs init --host NAME` makes certificates for --tls-cert, --tls-key and --tls-ca \
             (docs/security.md). Add --insecure if that network is yours alone"
        )),
    }
}

impl Door {
    /// Reads what the flags name.
    pub fn of(listen: SocketAddr, args: &DoorArgs) -> Result<Self, String> {
        let transport = transport(listen, args)?;
        let source = match (&args.jwt_key, &args.jwks) {
            (Some(path), _) => Some(Source::Key(path.clone())),
            (None, Some(set)) => Some(Source::Jwks(set.clone())),
            (None, None) => None,
        };
        let expected = Expected { issuer: args.jwt_issuer.clone(), audience: args.jwt_audience.clone() };
        let flag = if args.jwks.is_some() { "--jwks" } else { "--jwt-key" };
        let tokens = source.map(|source| Tokens::new(&source, expected).map_err(|why| format!("{flag} {why}")));
        let tokens = tokens.transpose()?;
        let certificates = match transport {
            Transport::MutualTls => Some(certificates(&args.tls, tokens.is_some())?),
            _ => None,
        };
        let trust = match transport {
            Transport::MutualTls => Trust::Certificates,
            Transport::Insecure => Trust::Everyone("anyone"),
            Transport::Loopback | Transport::InProcess => Trust::Everyone("this machine"),
        };
        Ok(Self { transport, trust, certificates, tokens })
    }
}

/// Operators with a token need no certificate; agents do, which the gate sees to.
fn certificates(files: &TlsFiles, takes_tokens: bool) -> Result<Certificates, String> {
    let clients = if takes_tokens { Clients::MayShowCertificates } else { Clients::NeedCertificates };
    let from = files.clone();
    let load = move || from.server_config(clients).map_err(|problem| problem.to_string());
    Ok(Arc::new(Reread::new(files.paths(), load)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(listen: &str, insecure: bool, tls: bool, token: bool) -> Result<Transport, String> {
        let file = |is_there: bool| is_there.then(|| PathBuf::from("f"));
        let tls = TlsFiles { tls_cert: file(tls), tls_key: file(tls), tls_ca: file(tls) };
        let args = DoorArgs { insecure, tls, jwt_key: file(token), ..DoorArgs::default() };
        transport(listen.parse().unwrap(), &args)
    }

    #[test]
    fn plain_text_stays_on_this_machine_unless_told_otherwise() {
        assert_eq!(asked("127.0.0.1:1", false, false, false), Ok(Transport::Loopback));
        assert_eq!(asked("[::1]:1", true, false, true), Ok(Transport::Loopback));
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.5:1"] {
            let told = asked(listen, false, false, false).unwrap_err();
            assert!(told.contains("squall certs init") && told.contains("--insecure"), "{told}");
            assert_eq!(asked(listen, true, false, false), Ok(Transport::Insecure));
            assert!(asked(listen, true, false, true).unwrap_err().contains("in the clear"));
            assert_eq!(asked(listen, false, true, true), Ok(Transport::MutualTls));
        }
        assert_eq!(asked("127.0.0.1:1", false, true, false), Ok(Transport::MutualTls));
    }
}
