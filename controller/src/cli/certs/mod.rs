//! `squall certs`: certificates for a cluster, without another tool.

mod files;

use super::failure::{self, Ended, Failure};
use super::output::{data, note};
use crate::identity::Role;
use crate::identity::issue::{self, Subject};
use crate::identity::peer;
use crate::terminal::{Cell, Paint, Table, Terminal, Tone};
use clap::Subcommand;
use files::Directory;
use serde_json::json;
use squall_common::plan::Region;
use squall_common::units;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// This machine by all its names: what a controller is always called.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes and renews certificates for controller, agents and operators
///
/// All are signed by a CA in the same directory. Keep its ca.key off the
/// machines of the cluster: they need ca.pem and a pair of their own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall certs init --host squall.example.org
  squall certs agent azure/eastus
  squall certs operator ann --role viewer
  squall certs renew --within 30d
  squall certs list")]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// Where the files are
    #[arg(long, value_name = "DIR", default_value = "./squall-certs", global = true)]
    dir: PathBuf,
    /// How long new certificates are valid
    #[arg(long = "for", value_name = "TIME", default_value = "90d", value_parser = validity, global = true)]
    valid_for: Duration,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Begins: a CA, a controller, and an operator `admin`
    Init {
        /// What the controller is dialled by, besides localhost (repeatable)
        #[arg(long = "host", value_name = "NAME", value_parser = host)]
        hosts: Vec<String>,
        /// How long the CA is valid
        #[arg(long, value_name = "TIME", default_value = "3650d", value_parser = validity)]
        ca_for: Duration,
    },
    /// A controller
    Controller {
        /// What it is dialled by, besides localhost (repeatable)
        #[arg(long = "host", value_name = "NAME", value_parser = host)]
        hosts: Vec<String>,
    },
    /// The agents of a region
    Agent {
        /// The only region they may join from
        #[arg(value_name = "REGION", value_parser = region)]
        region: Region,
    },
    /// An operator
    Operator {
        /// As the audit log calls them
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
        /// viewer: look; operator: run and stop, too; admin: everything
        #[arg(long, value_name = "ROLE", default_value = "operator", value_parser = role)]
        role: Role,
    },
    /// Makes certificates anew, with new keys and the same names
    Renew {
        /// Files without their ending, e.g. `agent-azure-eastus` [default: all]
        #[arg(value_name = "FILE")]
        stems: Vec<String>,
        /// Only those that expire within this time
        #[arg(long, value_name = "TIME", value_parser = validity)]
        within: Option<Duration>,
    },
    /// Lists certificates, and until when they are valid
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn validity(text: &str) -> Result<Duration, String> {
    // Times of a plan end at a year; a CA outlives that.
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let valid_for = match days {
        Some(days) => Duration::from_secs(u64::from(days) * 86_400),
        None => units::parse_duration(text).map_err(|error| error.to_string())?,
    };
    match valid_for.as_secs() {
        0 => Err("write at least a second, e.g. 90d".to_owned()),
        // Beyond what dates in certificates can say.
        secs if secs > 36_500 * 86_400 => Err("write at most 36500d".to_owned()),
        _ => Ok(valid_for),
    }
}

fn host(text: &str) -> Result<String, String> {
    issue::host(text).map(|_| text.to_owned())
}

fn region(text: &str) -> Result<Region, String> {
    Region::new(text).map_err(|error| error.to_string())
}

fn name(text: &str) -> Result<String, String> {
    if peer::is_name(text) { Ok(text.to_owned()) } else { Err(peer::NAME_RULE.to_owned()) }
}

/// Also for `squall token`.
pub fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "write viewer, operator or admin".to_owned())
}

fn controller(hosts: &[String]) -> Subject {
    let more = hosts.iter().filter(|host| !HERE.contains(&host.as_str()));
    Subject::Controller { hosts: HERE.into_iter().map(str::to_owned).chain(more.cloned()).collect() }
}

/// Performs the command.
pub fn perform(args: Args) -> Ended {
    let now = OffsetDateTime::now_utc();
    let dir = Directory::new(args.dir);
    match args.what {
        What::Init { hosts, ca_for } => {
            dir.begin(now, ca_for)?;
            let admin = Subject::Operator { role: Role::Admin, name: "admin".to_owned() };
            for subject in [controller(&hosts), admin] {
                dir.make(&subject, now, args.valid_for)?;
            }
            note(&next_steps(&dir, hosts.first().map_or("localhost", String::as_str)));
        }
        What::Controller { hosts } => dir.make(&controller(&hosts), now, args.valid_for)?,
        What::Agent { region } => dir.make(&Subject::Agent { region }, now, args.valid_for)?,
        What::Operator { name, role } => dir.make(&Subject::Operator { role, name }, now, args.valid_for)?,
        What::Renew { stems, within } => renew(&dir, &stems, within, now, args.valid_for)?,
        What::List { json } => list(&dir, now, json)?,
    }
    Ok(failure::OK)
}

fn renew(
    dir: &Directory,
    stems: &[String],
    within: Option<Duration>,
    now: OffsetDateTime,
    valid_for: Duration,
) -> Result<(), Failure> {
    let all = dir.certificates()?;
    if let Some(unknown) = stems.iter().find(|stem| !all.iter().any(|(known, _)| known == *stem)) {
        return Err(Failure::usage(format!(
            "there is no certificate `{unknown}` in {}: `squall certs list` shows those that are there",
            dir.shown()
        )));
    }
    let mut renewed = 0;
    for (stem, known) in all.iter().filter(|(stem, _)| stems.is_empty() || stems.contains(stem)) {
        if within.is_none_or(|within| known.not_after - now < within) {
            dir.replace(stem, &known.subject, now, valid_for)?;
            renewed += 1;
        }
    }
    note(&format!("{renewed} of {} certificates renewed", all.len()));
    Ok(())
}

fn list(dir: &Directory, now: OffsetDateTime, as_json: bool) -> Result<(), Failure> {
    let all = dir.certificates()?;
    if as_json {
        let one = |(stem, known): &(String, issue::Known)| {
            json!({
                "file": stem, "names": known.subject.names(), "not_after_unix_s": known.not_after.unix_timestamp(),
                "expired": known.has_expired(now),
            })
        };
        return data(&format!("{:#}\n", serde_json::Value::from(all.iter().map(one).collect::<Vec<_>>())));
    }
    let mut table = Table::with_head(["file", "valid until", "for"]).words(&[1, 2]);
    for (stem, known) in &all {
        let until = match known.has_expired(now) {
            true => format!("{} (expired)", files::day(known.not_after)),
            false => files::day(known.not_after),
        };
        table.push([stem.clone(), until, known.subject.names()].map(|text| Cell::new(Tone::Plain, text)));
    }
    data(&(table.lines(Terminal::of_stderr().width, Paint::new(false)).join("\n") + "\n"))
}

fn next_steps(dir: &Directory, host: &str) -> String {
    let dir = dir.shown();
    format!(
        "\ncontroller:  squall serve --listen 0.0.0.0:7700 --tls-cert {dir}/controller.pem \\\n\
         \x20              --tls-key {dir}/controller.key --tls-ca {dir}/ca.pem\n\
         you:         export SQUALL_CONTROLLER=https://{host}:7700 SQUALL_TLS_CA={dir}/ca.pem \\\n\
         \x20              SQUALL_TLS_CERT={dir}/operator-admin.pem SQUALL_TLS_KEY={dir}/operator-admin.key\n\
         agents:      squall certs agent REGION\n\
         \n{dir}/ca.key signs for the whole cluster: keep it where only you can read it"
    )
}
