//! What a rehearsal cloud looks like: regions, deployments and how fast they are.
//!
//! [`Config::from_yaml_or_json`] gives either a configuration that can run or
//! every problem in it at once, each with the name of its field.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::deployment_config::DeploymentConfig;
use crate::identity::IdentityConfig;
use crate::model::ModelParams;

/// A whole simulated cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One listener each.
    pub regions: Vec<RegionConfig>,
    /// Where faults are switched and the truth is read; 0 takes any free port.
    pub admin_port: u16,
    /// Names every random draw: answer lengths, latencies, which request a fault hits.
    pub seed: u64,
    /// A tenant that issues tokens, on the admin address.
    pub identity: Option<IdentityConfig>,
}

/// One region: an address of its own, and the deployments behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// `cloud/region`, e.g. `azure/eastus`.
    pub name: String,
    /// Local address to listen on.
    #[serde(default = "loopback")]
    pub address: IpAddr,
    /// 0 takes any free port.
    #[serde(default)]
    pub port: u16,
    /// Added to every answer of the region, as distance would.
    #[serde(default)]
    pub base_latency_ms: f64,
    /// When set, chat requests must carry it (`api-key`, or `Authorization: Bearer`).
    #[serde(default)]
    pub api_key: Option<String>,
    /// How the region's model servers perform, unless a deployment says otherwise.
    #[serde(default)]
    pub model: ModelParams,
    /// The deployments that exist; others answer 404 `DeploymentNotFound`.
    #[serde(default = "usual_deployments")]
    pub deployments: Vec<DeploymentConfig>,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}
fn usual_deployments() -> Vec<DeploymentConfig> {
    vec![DeploymentConfig::named("gpt-4o"), DeploymentConfig::named("gpt-4o-mini")]
}
impl Default for Config {
    fn default() -> Self {
        Self {
            regions: ["azure/eastus", "azure/westeurope", "aws/us-west-2"].map(RegionConfig::named).into(),
            admin_port: 0,
            seed: 1,
            identity: None,
        }
    }
}

impl RegionConfig {
    /// A region on any free loopback port with the usual deployments.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: loopback(),
            port: 0,
            base_latency_ms: 0.0,
            api_key: None,
            model: ModelParams::default(),
            deployments: usual_deployments(),
        }
    }
}

/// Why a configuration can't run.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not readable, or a field that doesn't exist; the text names the place.
    #[error("the simulator's configuration can't be read: {0}")]
    Syntax(String),
    /// Readable, but these fields can't be.
    #[error("the simulator's configuration can't run\n{}", list(.0))]
    Invalid(Vec<Problem>),
}

/// One field that can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, e.g. `regions[1].model.capacity`.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub advice: String,
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {}: {}", problem.field, problem.advice)).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads YAML, or JSON when the text starts with `{`, and checks it.
    pub fn from_yaml_or_json(text: &str) -> Result<Self, ConfigError> {
        let config: Self = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|cause| ConfigError::Syntax(cause.to_string()))?
        } else if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text).map_err(|cause| ConfigError::Syntax(cause.to_string()))?
        };
        config.check()?;
        Ok(config)
    }

    /// Every problem of the configuration, or none.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        problems.unless(!self.regions.is_empty(), "regions", "name at least one, or leave it out for three usual ones");
        let mut names = BTreeSet::new();
        let mut ports = BTreeSet::from([(loopback(), self.admin_port)]);
        for (index, region) in self.regions.iter().enumerate() {
            let at = format!("regions[{index}]");
            problems.unless(is_region(&region.name), format!("{at}.name"), "write `cloud/region`, e.g. `azure/eastus`");
            problems.unless(names.insert(&region.name), format!("{at}.name"), "another region has this name");
            let alone = region.port == 0 || ports.insert((region.address, region.port));
            problems.unless(alone, format!("{at}.port"), "taken by another region or the admin server; 0 takes any");
            problems.latency(format!("{at}.base_latency_ms"), region.base_latency_ms);
            problems.model(&format!("{at}.model"), &region.model);
            problems.deployments(&at, &region.deployments);
        }
        for (field, advice) in self.identity.iter().flat_map(IdentityConfig::problems) {
            problems.unless(false, field, advice);
        }
        let mut deployments = self.regions.iter().flat_map(|region| &region.deployments);
        let is_asked = deployments.any(|deployment| deployment.bearer_audience.is_some());
        problems.unless(
            self.identity.is_some() || !is_asked,
            "identity",
            "a deployment has bearer_audience, so say who issues tokens",
        );
        if problems.0.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems.0)) }
    }
}

fn is_region(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
    };
    name.split_once('/').is_some_and(|(cloud, region)| plain(cloud) && plain(region))
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn unless(&mut self, holds: bool, field: impl Into<String>, advice: &str) {
        if !holds {
            self.0.push(Problem { field: field.into(), advice: advice.to_owned() });
        }
    }

    fn latency(&mut self, field: String, value_ms: f64) {
        self.unless((0.0..=3_600_000.0).contains(&value_ms), field, "write milliseconds from 0 to 3600000");
    }

    fn model(&mut self, at: &str, model: &ModelParams) {
        self.unless(model.capacity >= 1, format!("{at}.capacity"), "at least 1 sequence must fit");
        let positive = |value: f64| value.is_finite() && value > 0.0;
        self.unless(positive(model.prefill_tokens_per_s), format!("{at}.prefill_tokens_per_s"), "must be above 0");
        self.unless(model.prefill_chunk_tokens >= 1, format!("{at}.prefill_chunk_tokens"), "must be at least 1");
        self.unless(positive(model.step_ms), format!("{at}.step_ms"), "must be above 0");
        self.latency(format!("{at}.step_ms"), model.step_ms);
        self.latency(format!("{at}.step_ms_per_sequence"), model.step_ms_per_sequence);
    }

    fn deployments(&mut self, at: &str, deployments: &[DeploymentConfig]) {
        let mut names = BTreeSet::new();
        for (index, deployment) in deployments.iter().enumerate() {
            let at = format!("{at}.deployments[{index}]");
            self.unless(!deployment.name.is_empty(), format!("{at}.name"), "must not be empty");
            self.unless(names.insert(&deployment.name), format!("{at}.name"), "another deployment has this name");
            let p50 = deployment.completion_tokens_p50;
            self.unless((1.0..=1e6).contains(&p50), format!("{at}.completion_tokens_p50"), "write 1 to 1000000");
            let in_order = (p50..=1e6).contains(&deployment.completion_tokens_p99);
            self.unless(in_order, format!("{at}.completion_tokens_p99"), "must be from p50 to 1000000");
            let slice = matches!(deployment.requests_slice_s, 0 | 1 | 10);
            self.unless(slice, format!("{at}.requests_slice_s"), "write 1 or 10 seconds, or 0 for none");
            let burst = (0.001..=3_600.0).contains(&deployment.quota_burst_s);
            self.unless(burst, format!("{at}.quota_burst_s"), "write seconds from 0.001 to 3600");
            let idle = deployment.prompt_cache_idle_s <= 86_400;
            self.unless(idle, format!("{at}.prompt_cache_idle_s"), "write up to 86400 seconds");
            let drains = deployment.ptu_tokens_per_min != Some(0);
            self.unless(drains, format!("{at}.ptu_tokens_per_min"), "must be at least 1");
            for (field, tokens) in [
                ("reasoning_tokens_p50", deployment.reasoning_tokens_p50),
                ("reasoning_tokens_p99", deployment.reasoning_tokens_p99),
            ] {
                self.unless((0.0..=1e6).contains(&tokens), format!("{at}.{field}"), "write 0 to 1000000");
            }
            for (field, words) in [
                ("filtered_in_prompts", &deployment.filtered_in_prompts),
                ("filtered_in_completions", &deployment.filtered_in_completions),
            ] {
                self.unless(!words.iter().any(String::is_empty), format!("{at}.{field}"), "a word is not empty");
            }
            self.unless(deployment.tokens_per_chunk >= 1, format!("{at}.tokens_per_chunk"), "must be at least 1");
            let waits = (1..=3_600_000).contains(&deployment.first_token_timeout_ms);
            self.unless(waits, format!("{at}.first_token_timeout_ms"), "write milliseconds from 1 to 3600000");
            if let Some(model) = &deployment.model {
                self.model(&format!("{at}.model"), model);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_three_regions_and_runs() {
        let config = Config::default();
        assert_eq!(config.regions.len(), 3);
        config.check().unwrap();
        assert_eq!(Config::from_yaml_or_json("").unwrap(), config);
    }

    #[test]
    fn yaml_and_json_name_the_same_cloud() {
        let yaml = "seed: 9\nregions:\n  - name: gcp/europe-west4\n    model: {capacity: 2}\n";
        let json = r#"{"seed": 9, "regions": [{"name": "gcp/europe-west4", "model": {"capacity": 2}}]}"#;
        let config = Config::from_yaml_or_json(yaml).unwrap();
        assert_eq!(config, Config::from_yaml_or_json(json).unwrap());
        assert_eq!(config.regions[0].model.capacity, 2);
        assert_eq!(config.regions[0].model.queue_limit, ModelParams::default().queue_limit);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let wrong = Config::from_yaml_or_json("seed: 1\nregions:\n  - name: a/b\n    latencee: 3\n").unwrap_err();
        let text = wrong.to_string();
        assert!(text.contains("latencee") && text.contains('4'), "{text}");
        let wrong = Config::from_yaml_or_json("{\"seed\": 1,\n \"sead\": 2}").unwrap_err();
        assert!(wrong.to_string().contains("sead") && wrong.to_string().contains("line 2"), "{wrong}");
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let text = "
admin_port: 8080
regions:
  - {name: eastus, port: 8080, base_latency_ms: -1}
  - name: azure/eastus
    model: {capacity: 0, step_ms: .nan}
    deployments: [{name: a, completion_tokens_p99: 2}, {name: a, tokens_per_chunk: 0}]
";
        let ConfigError::Invalid(problems) = Config::from_yaml_or_json(text).unwrap_err() else { panic!("syntax") };
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        for field in [
            "regions[0].name",
            "regions[0].port",
            "regions[0].base_latency_ms",
            "regions[1].model.capacity",
            "regions[1].model.step_ms",
            "regions[1].deployments[0].completion_tokens_p99",
            "regions[1].deployments[1].name",
            "regions[1].deployments[1].tokens_per_chunk",
        ] {
            assert!(fields.contains(&field), "{field} not in {fields:?}");
        }
    }
}
