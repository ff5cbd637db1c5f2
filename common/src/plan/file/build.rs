//! The checked tree -> the plan. What can be said about one part is said in
//! its own file; here they come together.

use super::node::Node;
use super::problem::{Place, Problem};
use super::template::Templates;
use crate::plan::prompts::Prompts;
use crate::plan::{Feeder, Load, LoadModel, OnAgentLoss, Plan, Region, Scenario, StartWhen, Target};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The same plan and seed are the same requests, so the seed is fixed unless asked for.
const DEFAULT_SEED: u64 = 1;
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
const DEFAULT_START_WITHIN: Duration = Duration::from_secs(60);

/// Everything built so far, and everything found wrong.
pub(super) struct Builder<'a> {
    pub(super) files: &'a BTreeMap<String, Bytes>,
    pub(super) vars: Vec<String>,
    pub(super) templates: Templates,
    pub(super) targets: Vec<Target>,
    pub(super) feeders: Vec<Feeder>,
    pub(super) feeder_places: Vec<Place>,
    pub(super) prompts: Vec<Prompts>,
    pub(super) variables: Vec<String>,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) loads: Vec<Load>,
    /// A misspelt key at the top is the likely reason for what seems missing.
    pub(super) has_unknown_keys: bool,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(files: &'a BTreeMap<String, Bytes>, vars: Vec<String>) -> Self {
        Self {
            files,
            vars,
            templates: Templates::default(),
            targets: Vec::new(),
            feeders: Vec::new(),
            feeder_places: Vec::new(),
            prompts: Vec::new(),
            variables: Vec::new(),
            scenarios: Vec::new(),
            loads: Vec::new(),
            has_unknown_keys: false,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// `None` when there is too little to build from; the problems say why.
    pub(super) fn plan(&mut self, root: &Node, file_name: &str) -> Option<Plan> {
        self.has_unknown_keys = root.entries().iter().any(|entry| super::table::PLAN.field(&entry.key).is_none());
        self.build_targets(root);
        self.build_feeders(root);
        self.build_prompts(root);
        self.build_scenarios(root);
        self.check_model_calls(root);
        self.build_loads(root);
        let slos = self.build_slos(root);
        self.check_feeders_suffice();
        if self.scenarios.is_empty() || self.loads.is_empty() {
            return None;
        }
        // Before the secrets are taken: its key is one of them.
        let keep_errors = self.keep_errors(root);
        let plan = Plan {
            name: self.name(root, file_name),
            seed: root.count_of("seed").unwrap_or(DEFAULT_SEED),
            tags: tags(root),
            targets: std::mem::take(&mut self.targets),
            feeders: std::mem::take(&mut self.feeders),
            prompts: std::mem::take(&mut self.prompts),
            variables: std::mem::take(&mut self.variables),
            secrets: std::mem::take(&mut self.templates.secrets),
            scenarios: std::mem::take(&mut self.scenarios),
            loads: std::mem::take(&mut self.loads),
            slos,
            warm_up: root.duration_of("warm_up").unwrap_or_default(),
            drain: root.duration_of("drain").unwrap_or(DEFAULT_DRAIN),
            on_agent_loss: root.text_of("on_agent_loss").and_then(OnAgentLoss::from_word).unwrap_or_default(),
            min_agents: root.count_of("min_agents").map_or(1, |agents| agents as usize),
            start_when: self.start_when(root),
            sample_log: root.flag_of("sample_log").unwrap_or(false),
            keep_errors,
        };
        self.check_warm_up(root, &plan);
        self.check_redistribution(root, &plan);
        Some(plan)
    }

    fn name(&mut self, root: &Node, file_name: &str) -> String {
        match root.get("name") {
            Some(node) => {
                let name = node.scalar().unwrap_or_default();
                if name.chars().count() > 100 || name.chars().any(char::is_control) {
                    self.problem(node, "the name is not one line of at most 100 characters", "write a shorter name");
                }
                name.to_owned()
            }
            None => {
                let base = file_name.rsplit(['/', '\\']).next().unwrap_or(file_name);
                let stem = base.strip_suffix(".yaml").or_else(|| base.strip_suffix(".yml")).unwrap_or(base);
                let name: String = stem.chars().filter(|c| !c.is_control()).take(100).collect();
                if name.is_empty() { "plan".to_owned() } else { name }
            }
        }
    }

    fn start_when(&mut self, root: &Node) -> StartWhen {
        let Some(node) = root.get("start_when") else { return StartWhen::default() };
        let asked = node.get("regions").map(Node::entries).unwrap_or_default();
        let mut regions = Vec::new();
        for entry in asked {
            match Region::new(&entry.key) {
                Ok(region) => {
                    let agents = entry.node.scalar().and_then(|text| text.parse().ok()).unwrap_or(1);
                    regions.push((region, agents));
                }
                Err(invalid) => self.problem(&entry.node, &invalid.to_string(), "e.g. `azure/eastus: 2`"),
            }
        }
        StartWhen {
            agents: node.count_of("agents").map_or(0, |agents| agents as usize),
            regions,
            within: node.duration_of("within").unwrap_or(DEFAULT_START_WITHIN),
        }
    }

    fn check_warm_up(&mut self, root: &Node, plan: &Plan) {
        if let (Some(node), Some(offered)) = (root.get("warm_up"), plan.offered_for())
            && plan.warm_up >= offered
        {
            let offered = crate::units::show_duration(offered);
            self.problem(
                node,
                &format!("the warm-up is not shorter than the run, which takes {offered}"),
                "shorten `warm_up`",
            );
        }
    }

    /// A share of a fixed number of iterations cannot be taken over: nobody knows
    /// which of them the lost agent has done.
    fn check_redistribution(&mut self, root: &Node, plan: &Plan) {
        let by_count = |load: &&Load| {
            matches!(load.model, LoadModel::SharedIterations { .. } | LoadModel::PerUserIterations { .. })
        };
        if let (Some(node), OnAgentLoss::Redistribute, Some(load)) =
            (root.get("on_agent_loss"), plan.on_agent_loss, plan.loads.iter().find(by_count))
        {
            let message =
                format!("load `{}` ends by iterations, which can't be taken over from a lost agent", load.name);
            self.problem(node, &message, "write `on_agent_loss: continue`, or give the load phases");
        }
    }

    pub(super) fn problem(&mut self, at: &Node, message: &str, advice: &str) {
        self.problems.push(Problem::new(&at.place, message).advice(advice));
    }

    pub(super) fn warning(&mut self, at: &Place, message: &str, advice: &str) {
        self.warnings.push(Problem::new(at, message).advice(advice));
    }

    /// A file of the bundle; a missing one is a problem.
    pub(super) fn file(&mut self, node: &Node) -> Option<Bytes> {
        let name = node.scalar()?;
        let found = self.files.get(name).cloned();
        if found.is_none() {
            self.problem(node, &format!("the file `{name}` cannot be read"), "paths are relative to the plan");
        }
        found
    }
}

pub(super) fn tags(node: &Node) -> Vec<(String, String)> {
    let entries = node.get("tags").map(Node::entries).unwrap_or_default();
    entries.iter().map(|entry| (entry.key.clone(), entry.node.scalar().unwrap_or_default().to_owned())).collect()
}
