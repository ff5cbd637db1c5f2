//! Where things are in etcd: `/squall/v1/FLEET/…`.
//!
//! ```text
//! schema                            durable   {version}
//! election/controller/LEASE         leased    {id, address, build}
//! agents/REGION/SLOT                leased    who fills the slot, as its leader sees it
//! runs/RUN/spec                     durable   written once
//! runs/RUN/desired                  durable   what operators asked for
//! runs/RUN/status                   durable
//! runs/RUN/drive                    durable   where it stands, for the next leader (JSON, zlib)
//! runs/RUN/shares/N                 durable
//! runs/RUN/checkpoints/N            durable
//! active/TARGET                     durable   one run per target at a time
//! results/YYYY/MM/DD/RUN            durable   where a result lies
//! ```

/// Of the layout; readers refuse newer ones.
pub const SCHEMA: u32 = 1;

/// The keys of one fleet.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

pub fn is_fleet_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 63 && name.bytes().all(is_allowed)
}

impl Keys {
    pub fn new(fleet: &str) -> Self {
        Self { prefix: format!("/squall/v1/{fleet}/") }
    }

    pub fn schema(&self) -> String {
        format!("{}schema", self.prefix)
    }

    pub fn election(&self) -> String {
        format!("{}election/controller/", self.prefix)
    }

    pub fn agents(&self) -> String {
        format!("{}agents/", self.prefix)
    }

    /// The region's slashes stay, so that a cloud is a prefix too.
    pub fn agent(&self, region: &str, slot: &str) -> String {
        let region: Vec<String> = region.split('/').map(escaped).collect();
        format!("{}{}/{}", self.agents(), region.join("/"), escaped(slot))
    }

    /// Region and slot of an agent's key.
    pub fn agent_of(&self, key: &str) -> Option<(String, String)> {
        let (region, slot) = key.strip_prefix(&self.agents())?.rsplit_once('/')?;
        Some((unescaped(region), unescaped(slot)))
    }

    pub fn runs(&self) -> String {
        format!("{}runs/", self.prefix)
    }

    /// The prefix of all there is of one run.
    pub fn run(&self, run: &str) -> String {
        format!("{}{}/", self.runs(), escaped(run))
    }

    /// The run of a key below [`Keys::runs`], and which of its parts.
    pub fn part_of(&self, key: &str) -> Option<(String, RunPart)> {
        let (run, part) = key.strip_prefix(&self.runs())?.split_once('/')?;
        let part = match part.split_once('/') {
            None => match part {
                "spec" => RunPart::Spec,
                "desired" => RunPart::Desired,
                "status" => RunPart::Status,
                "drive" => RunPart::Drive,
                _ => return None,
            },
            Some(("shares", number)) => RunPart::Share(number.parse().ok()?),
            Some(("checkpoints", number)) => RunPart::Checkpoint(number.parse().ok()?),
            Some(_) => return None,
        };
        Some((unescaped(run), part))
    }

    pub fn part(&self, run: &str, part: RunPart) -> String {
        let run = self.run(run);
        match part {
            RunPart::Spec => format!("{run}spec"),
            RunPart::Desired => format!("{run}desired"),
            RunPart::Status => format!("{run}status"),
            RunPart::Drive => format!("{run}drive"),
            RunPart::Share(number) => format!("{run}shares/{number}"),
            RunPart::Checkpoint(number) => format!("{run}checkpoints/{number}"),
        }
    }

    pub fn all_active(&self) -> String {
        format!("{}active/", self.prefix)
    }

    pub fn active(&self, target: &str) -> String {
        format!("{}{}", self.all_active(), escaped(target))
    }

    pub fn target_of(&self, key: &str) -> Option<String> {
        key.strip_prefix(&self.all_active()).map(unescaped)
    }

    pub fn results(&self) -> String {
        format!("{}results/", self.prefix)
    }

    /// `date` is `YYYY-MM-DD`.
    pub fn result(&self, date: &str, run: &str) -> String {
        format!("{}{}/{}", self.results(), date.replace('-', "/"), escaped(run))
    }
}

/// What is kept of a run, each under its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunPart {
    Spec,
    Desired,
    Status,
    Drive,
    Share(u32),
    Checkpoint(u32),
}

/// One path segment: anything else than letters, digits and `-_.` becomes `%XX`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_where_the_layout_says() {
        let keys = Keys::new("blue");
        assert_eq!(keys.agent("azure/eastus", "agent-1"), "/squall/v1/blue/agents/azure/eastus/agent-1");
        assert_eq!(keys.part("01J", RunPart::Checkpoint(3)), "/squall/v1/blue/runs/01J/checkpoints/3");
        assert_eq!(keys.active("https://shop:443"), "/squall/v1/blue/active/https%3A%2F%2Fshop%3A443");
        assert_eq!(keys.result("2026-11-23", "01J"), "/squall/v1/blue/results/2026/11/23/01J");
    }

    proptest! {
        #[test]
        fn a_key_tells_what_it_is_of(slot in "\\PC{1,20}", cloud in "[a-z%é]{1,8}", n in any::<u32>()) {
            let keys = Keys::new("blue");
            let region = format!("{cloud}/east us");
            prop_assert_eq!(keys.agent_of(&keys.agent(&region, &slot)), Some((region, slot.clone())));
            prop_assert_eq!(keys.target_of(&keys.active(&slot)), Some(slot.clone()));
            let whole = [RunPart::Spec, RunPart::Desired, RunPart::Status, RunPart::Drive];
            for part in whole.into_iter().chain([RunPart::Share(n), RunPart::Checkpoint(n)]) {
                prop_assert_eq!(keys.part_of(&keys.part(&slot, part)), Some((slot.clone(), part)));
            }
        }
    }
}
