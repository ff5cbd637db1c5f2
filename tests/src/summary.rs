//! `summary.json`, read by path.

use serde_json::Value;
use std::collections::BTreeMap;

/// A summary, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary(pub Value);

impl Summary {
    pub fn from_json(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_else(|error| panic!("not a summary: {error}\n{text}")))
    }

    /// What stands at `a.b.c`; for names that hold dots use [`Self::part`] first.
    pub fn at(&self, path: &str) -> &Value {
        path.split('.').fold(&self.0, |value, key| {
            value.get(key).unwrap_or_else(|| panic!("the summary has no `{path}`:\n{:#}", self.0))
        })
    }

    /// A scenario, region or target by name.
    pub fn part(&self, of: &str, name: &str) -> Self {
        Self(self.at(of).get(name).unwrap_or_else(|| panic!("{of} has no `{name}`: {:#}", self.at(of))).clone())
    }

    pub fn count(&self, path: &str) -> u64 {
        self.at(path).as_u64().unwrap_or_else(|| panic!("`{path}` is no count: {}", self.at(path)))
    }

    pub fn number(&self, path: &str) -> f64 {
        self.at(path).as_f64().unwrap_or_else(|| panic!("`{path}` is no number: {}", self.at(path)))
    }

    pub fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_else(|| panic!("`{path}` is no text: {}", self.at(path)))
    }

    pub fn texts(&self, path: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.list(path).iter().map(|value| text(value).unwrap_or_else(|| panic!("`{path}`: {value}"))).collect()
    }

    pub fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().unwrap_or_else(|| panic!("`{path}` is no list: {}", self.at(path)))
    }

    /// Agents by slot.
    pub fn agents(&self) -> BTreeMap<String, Summary> {
        let slot = |agent: &Value| agent["slot"].as_str().map(str::to_owned).expect("an agent has a slot");
        self.list("agents").iter().map(|agent| (slot(agent), Self(agent.clone()))).collect()
    }

    /// Everything planned is in the result and every request has one fate. The
    /// only reason against the figures that is let pass is that this machine was
    /// too busy to generate in time, since it makes no count wrong.
    pub fn expect_whole(&self) -> &Self {
        self.expect_balanced();
        assert_eq!(self.number("coverage.ratio"), 1.0, "{:#}", self.at("coverage"));
        assert!(self.list("coverage.holes").is_empty(), "{:#}", self.at("coverage"));
        let others: Vec<String> =
            self.texts("reasons").into_iter().filter(|reason| !reason.starts_with("generator limited")).collect();
        assert!(others.is_empty(), "{others:#?}");
        self
    }

    /// planned = sent + skipped, sent = completed + failed + cut off, for the
    /// run; and its parts add up to it.
    pub fn expect_balanced(&self) -> &Self {
        let count = |what: &str| self.count(&format!("coverage.{what}"));
        assert_eq!(count("planned"), count("sent") + count("skipped"), "{:#}", self.at("coverage"));
        assert_eq!(count("sent"), count("completed") + count("failed") + count("cut_off"), "{:#}", self.at("coverage"));
        for of in ["scenarios", "regions", "targets"] {
            for what in ["planned", "sent", "skipped", "completed", "failed", "cut_off"] {
                let parts = self.at(of).as_object().expect("parts by name");
                let sum: u64 = parts.values().map(|part| part["coverage"][what].as_u64().expect("a count")).sum();
                assert_eq!(sum, count(what), "{what} of all {of}");
            }
        }
        let of_agents: u64 = self.agents().values().map(|agent| agent.count("ledger.sent")).sum();
        assert_eq!(of_agents, count("sent"), "sent by all agents");
        self
    }

    /// So many requests were sent, and all of them ended with 200.
    pub fn expect_all_ok(&self, requests: u64) -> &Self {
        assert_eq!(self.count("coverage.sent"), requests);
        assert_eq!(self.count("coverage.completed"), requests);
        assert_eq!(self.count("status.200"), requests);
        assert_eq!(self.count("outcomes.ok"), requests);
        self
    }
}
