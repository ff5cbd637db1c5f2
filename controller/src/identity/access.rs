//! Who may call what. Pure: what is known of a caller in, a caller or a refusal out.

use super::Role;
use super::jwt::Claims;
use super::peer::{Certificate, Holder, Peer};
use squall_common::plan::Region;
use tonic::Code;

/// Whom a controller believes without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Everyone who reaches it: this process, this machine, or `--insecure`. The word is for the audit log.
    Everyone(&'static str),
    /// Holders of a certificate that its CA signed.
    Certificates,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `Cluster/Session`: an agent joins.
    Session,
    /// A method of `Operator`.
    Operator(&'a str),
}

/// What a caller's token came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// The controller takes no tokens.
    NotTaken,
    Missing,
    Good(Claims),
    Bad(String),
}

/// Somebody who may do what they asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// A certificate's URI, a token's subject, or how far away they can be.
    pub who: String,
    /// Nothing for agents.
    pub role: Option<Role>,
    /// The only region that an agent may join from.
    pub region: Option<Region>,
}

/// Why not.
#[derive(Clone, Debug, PartialEq)]
pub struct Denied {
    pub code: Code,
    pub who: String,
    pub why: String,
}

/// The least role for a method. One that is not listed here is for admins: a new method is closed
/// until somebody decides.
pub fn least_role(method: &str) -> Role {
    match method {
        "ListAgents" | "ListRuns" | "WatchRun" | "GetResult" => Role::Viewer,
        "SubmitRun" | "StopRun" => Role::Operator,
        _ => Role::Admin,
    }
}

/// Whether a method changes anything.
pub fn changes_something(method: &str) -> bool {
    least_role(method) > Role::Viewer
}

const HOW_TO_PROVE: &str = "show an operator's certificate (--tls-cert and --tls-key, made by `squall certs operator`)";
const HOW_TO_TOKEN: &str = "give a token in SQUALL_TOKEN or with --token-file";

/// Decides one call.
pub fn admit(trust: Trust, peer: &Peer, token: Token, call: Call<'_>, now_unix_s: i64) -> Result<Caller, Denied> {
    let certificate = peer.certificate.as_ref();
    let holder = certificate.map(|certificate| &certificate.holder);
    let who = || holder.map_or_else(|| "nobody".to_owned(), Holder::to_string);
    let denied = |code, why: String| Err(Denied { code, who: who(), why });
    if let Some(Certificate { not_after_unix_s, .. }) = certificate
        && *not_after_unix_s < now_unix_s
    {
        return denied(Code::Unauthenticated, "your certificate has expired meanwhile: connect with a new one".into());
    }
    match (call, holder) {
        (Call::Session, Some(Holder::Agent { region })) => {
            Ok(Caller { who: who(), role: None, region: Some(region.clone()) })
        }
        (Call::Session, None) => match trust {
            Trust::Everyone(who) => Ok(Caller { who: who.to_owned(), role: None, region: None }),
            Trust::Certificates => denied(
                Code::Unauthenticated,
                "an agent needs a certificate (--tls-cert and --tls-key): `squall certs agent REGION` makes one".into(),
            ),
        },
        (Call::Session, Some(Holder::Operator { .. })) => denied(
            Code::PermissionDenied,
            format!(
                "{} is an operator and cannot join as an agent: `squall certs agent REGION` makes a certificate that can",
                who()
            ),
        ),
        (Call::Operator(_), Some(Holder::Agent { .. })) => denied(
            Code::PermissionDenied,
            format!("{} is an agent and cannot do what operators do: {HOW_TO_PROVE}", who()),
        ),
        (Call::Operator(method), holder) => operator(trust, holder, token, method),
        (Call::Session, Some(Holder::Nobody { why })) => {
            denied(Code::PermissionDenied, format!("your certificate has no role: {why}"))
        }
    }
}

/// A token says who calls; without one it is the certificate; without that, whoever is trusted unasked.
fn operator(trust: Trust, holder: Option<&Holder>, token: Token, method: &str) -> Result<Caller, Denied> {
    let nobody = |code, why: String| Err(Denied { code, who: "nobody".to_owned(), why });
    let takes_tokens = token != Token::NotTaken;
    let (who, role) = match (token, holder) {
        (Token::Good(claims), _) => (format!("jwt:{}", claims.subject), claims.role),
        (Token::Bad(why), _) => return nobody(Code::Unauthenticated, format!("your token is not taken: {why}")),
        (_, Some(Holder::Operator { role, .. })) => (holder.map(Holder::to_string).unwrap_or_default(), *role),
        (_, Some(Holder::Nobody { why })) => {
            return nobody(Code::PermissionDenied, format!("your certificate has no role: {why}; {HOW_TO_PROVE}"));
        }
        (_, _) => match trust {
            Trust::Everyone(who) if !takes_tokens => (who.to_owned(), Role::Admin),
            Trust::Everyone(_) => {
                return nobody(
                    Code::Unauthenticated,
                    format!("this controller wants to know who you are: {HOW_TO_TOKEN}"),
                );
            }
            Trust::Certificates if takes_tokens => {
                let why = format!("this controller wants to know who you are: {HOW_TO_TOKEN}, or {HOW_TO_PROVE}");
                return nobody(Code::Unauthenticated, why);
            }
            Trust::Certificates => {
                return nobody(
                    Code::Unauthenticated,
                    format!("this controller wants to know who you are: {HOW_TO_PROVE}"),
                );
            }
        },
    };
    let least = least_role(method);
    if role < least {
        let why = format!("{method} needs the role {least}, and {who} is a {role}");
        return Err(Denied { code: Code::PermissionDenied, who, why });
    }
    Ok(Caller { who, role: Some(role), region: None })
}

/// Why an agent may not join from the region that it names, if so.
pub fn wrong_region(certified: Option<&Region>, claimed: &str) -> Option<String> {
    certified.filter(|region| region.as_str() != claimed).map(|region| {
        format!("the agent's certificate is for region `{region}`, not `{claimed}`: `squall certs agent {claimed}` makes one")
    })
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
