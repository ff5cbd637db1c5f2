//! `squall token`: a token for an operator, signed with a secret.

use super::certs::role;
use super::failure::{self, Ended, Failure};
use super::output::data;
use crate::events::unix_ms;
use crate::identity::Role;
use crate::identity::jwt::{Key, sign};
use serde_json::json;
use squall_common::units;
use std::path::PathBuf;
use std::time::Duration;

/// Makes a token for an operator (JWT, HS256)
///
/// The key is the one that `squall serve --jwt-key` has. Keys of an identity
/// provider make tokens there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  head -c 48 /dev/urandom | base64 > jwt.key
  squall token --key jwt.key --name ci --role operator --for 1h > token")]
pub struct Args {
    /// The secret
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// As the audit log calls its holder (`sub`)
    #[arg(long, value_name = "NAME")]
    name: String,
    /// viewer: look; operator: run and stop, too; admin: everything
    #[arg(long, value_name = "ROLE", default_value = "operator", value_parser = role)]
    role: Role,
    /// How long it is good
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = lifetime)]
    valid_for: Duration,
    /// Whom it is for (`aud`), as `squall serve --jwt-audience`
    #[arg(long, value_name = "TEXT", default_value = "squall")]
    audience: String,
    /// Who issued it (`iss`), as `squall serve --jwt-issuer`
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|error| error.to_string())
}

/// Performs the command.
pub fn perform(args: Args) -> Ended {
    let named = |why: String| Failure::usage(format!("--key {}: {why}", args.key.display()));
    let bytes = std::fs::read(&args.key).map_err(|error| named(failure::in_words(&error)))?;
    let Key::Secret(secret) = Key::from_file(&bytes).map_err(named)? else {
        return Err(named("it is a public key, which signs nothing: tokens of it come from its owner".to_owned()));
    };
    let now_s = unix_ms() / 1_000;
    let mut claims = json!({
        "sub": args.name, "squall_role": args.role.name(), "aud": args.audience,
        "iat": now_s, "exp": now_s + args.valid_for.as_secs(),
    });
    if let Some(issuer) = args.issuer {
        claims["iss"] = json!(issuer);
    }
    data(&format!("{}\n", sign(&secret, &claims)))?;
    Ok(failure::OK)
}
