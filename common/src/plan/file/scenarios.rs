//! Scenarios: their targets and steps; the short form is one scenario.

use super::build::{Builder, tags};
use super::check::quoted;
use super::node::{Entry, Node};
use super::problem::{Place, Problem};
use super::requests::Surroundings;
use crate::plan::{Scenario, Step, TargetId, VarId};

/// The name of the one scenario of the short form.
pub(super) const SHORT_NAME: &str = "main";

/// Keys that describe one request at the top of a plan.
const REQUEST_KEYS: [&str; 15] = [
    "url",
    "method",
    "headers",
    "query",
    "payload",
    "body",
    "body_file",
    "json",
    "form",
    "timeout",
    "checks",
    "extract",
    "think_time",
    "steps",
    "cookies",
];

/// Keys of a scenario that mean one inline request.
const INLINE_KEYS: [&str; 22] = [
    "get",
    "post",
    "put",
    "patch",
    "delete",
    "head",
    "options",
    "url",
    "path",
    "method",
    "query",
    "body",
    "payload",
    "body_file",
    "json",
    "form",
    "checks",
    "extract",
    "chat",
    "completions",
    "embeddings",
    "responses",
];

impl Builder<'_> {
    pub(super) fn build_scenarios(&mut self, root: &Node) {
        let Some(scenarios) = root.get("scenarios") else {
            if let Some(scenario) = self.scenario(SHORT_NAME, root, true) {
                self.scenarios.push(scenario);
            }
            return;
        };
        for key in REQUEST_KEYS {
            if let Some(entry) = root.entry(key) {
                let problem = Problem::new(&entry.key_place, format!("`{key}` stands beside `scenarios`"));
                self.problems.push(problem.advice("move it into a scenario"));
            }
        }
        if scenarios.is_map() && scenarios.entries().is_empty() {
            self.problem(scenarios, "`scenarios` has none", "write `name: {get: /}` below it");
        }
        for entry in scenarios.entries() {
            self.check_name("scenario", &entry.key, &entry.key_place);
            // One that cannot be built still holds its place, so that others keep their ids.
            let scenario = self.scenario(&entry.key, &entry.node, false).unwrap_or_else(|| Scenario {
                name: entry.key.clone(),
                tags: Vec::new(),
                targets: Vec::new(),
                steps: Vec::new(),
                cookies: false,
            });
            if scenario.steps.is_empty() && self.problems.is_empty() && self.templates.problems.is_empty() {
                let problem = Problem::new(&entry.key_place, format!("scenario `{}` sends nothing", entry.key));
                self.problems.push(problem.advice("add `get: /path`, or `steps:`"));
            }
            self.scenarios.push(scenario);
        }
    }

    fn scenario(&mut self, name: &str, node: &Node, is_root: bool) -> Option<Scenario> {
        let targets = if is_root { self.all_targets() } else { self.scenario_targets(node) };
        let mut steps = match node.get("steps") {
            Some(list) => self.steps(node, list),
            None => self.inline_step(node, is_root).into_iter().collect(),
        };
        let has_calls = steps.iter().any(|step| step.model_call.is_some());
        self.check_model_keys(node, has_calls || steps.is_empty());
        if steps.is_empty() {
            return None;
        }
        number_repeats(&mut steps);
        Some(Scenario {
            name: name.to_owned(),
            tags: if is_root { Vec::new() } else { tags(node) },
            targets,
            steps,
            cookies: node.flag_of("cookies").unwrap_or(false),
        })
    }

    fn all_targets(&self) -> Vec<(TargetId, u32)> {
        self.targets.iter().enumerate().map(|(id, target)| (TargetId(id as u16), target.weight)).collect()
    }

    fn scenario_targets(&mut self, node: &Node) -> Vec<(TargetId, u32)> {
        let given = match (node.get("target"), node.get("targets")) {
            (Some(_), Some(extra)) => {
                self.problem(extra, "`target` and `targets` are both given", "keep one of them");
                return Vec::new();
            }
            (None, None) => return self.all_targets(),
            (Some(one), None) | (None, Some(one)) => one,
        };
        if given.is_map() {
            let shares = self.shares(given);
            return shares
                .into_iter()
                .filter_map(|(name, place, weight)| Some((self.target_named(&name, &place)?, weight)))
                .collect();
        }
        let items = if given.is_list() { given.items() } else { std::slice::from_ref(given) };
        if items.is_empty() {
            self.problem(given, "the list of targets is empty", "name one, or remove it to use all");
        }
        let mut targets: Vec<(TargetId, u32)> = Vec::new();
        for item in items {
            let Some(id) = item.scalar().and_then(|name| self.target_named(name, &item.place)) else { continue };
            if targets.iter().any(|(known, _)| *known == id) {
                self.problem(item, "this target is named twice", "for more traffic use weights: `{name: 2}`");
            }
            targets.push((id, self.targets[usize::from(id.0)].weight));
        }
        targets
    }

    /// Names with weights or with percentages that make 100%.
    pub(super) fn shares(&mut self, node: &Node) -> Vec<(String, Place, u32)> {
        let is_percent = |entry: &&Entry| entry.node.scalar().is_some_and(|text| text.ends_with('%'));
        let n_percent = node.entries().iter().filter(is_percent).count();
        if n_percent > 0 && n_percent < node.entries().len() {
            self.problem(
                node,
                "weights and percentages are mixed",
                "write all as percentages, or all as whole numbers",
            );
            return Vec::new();
        }
        let mut shares = Vec::new();
        let mut sum = 0.0;
        for entry in node.entries() {
            let text = entry.node.scalar().unwrap_or_default();
            let weight = if n_percent > 0 {
                let Ok(ratio) = crate::units::parse_percent(text) else { continue };
                sum += ratio * 100.0;
                // Thousandths of a percent, exactly.
                (ratio * 100_000.0).round() as u32
            } else {
                let Some(weight) = entry.node.as_count() else { continue };
                weight.min(u64::from(u32::MAX)) as u32
            };
            if weight == 0 {
                self.problem(&entry.node, &format!("`{}` gets nothing", entry.key), "remove it, or write more");
            }
            shares.push((entry.key.clone(), entry.key_place.clone(), weight));
        }
        if n_percent > 0 && shares.len() == n_percent && (sum - 100.0).abs() > 0.01 {
            let sum = (sum * 1000.0).round() / 1000.0;
            self.problem(node, &format!("the percentages make {sum}%, not 100%"), "make them 100% together");
        }
        let divisor = shares.iter().fold(0, |divisor, (_, _, weight)| gcd(divisor, *weight)).max(1);
        shares.iter_mut().for_each(|(_, _, weight)| *weight /= divisor);
        shares
    }

    fn steps(&mut self, scenario: &Node, list: &Node) -> Vec<Step> {
        for key in INLINE_KEYS {
            if let Some(entry) = scenario.entry(key) {
                let problem = Problem::new(&entry.key_place, format!("`{key}` stands beside `steps`"));
                self.problems.push(problem.advice("move it into a step"));
            }
        }
        if list.is_list() && list.items().is_empty() {
            self.problem(list, "`steps` has none", "write `- get: /path` below it");
        }
        let mut extracted: Vec<(String, VarId)> = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for (n, node) in list.items().iter().enumerate().filter(|(_, node)| node.is_map()) {
            if let Some(name) = node.get("name") {
                let text = name.scalar().unwrap_or_default();
                if names.contains(&text) {
                    self.problem(name, &format!("two steps are named `{text}`"), "give each its own name");
                }
                names.push(text);
            }
            let later: Vec<String> = list.items()[n..].iter().flat_map(extract_names).collect();
            let around = Surroundings { scenario, extracted: &extracted, later: &later, default_path: None };
            let step = self.step(node, &around);
            let extracts = self.extracts(node);
            for name in extract_names(node) {
                if !extracted.iter().any(|(known, _)| *known == name) {
                    let id = self.variable(&name);
                    extracted.push((name, id));
                }
            }
            steps.extend(step.map(|step| Step { extracts, ..step }));
        }
        steps
    }

    fn inline_step(&mut self, node: &Node, is_root: bool) -> Option<Step> {
        let path_only = if is_root { whole_url_to_path(node) } else { None };
        let node = path_only.as_ref().unwrap_or(node);
        let has_target =
            is_root && (node.get("target").is_some() || node.get("targets").is_some() || node.get("host").is_some());
        if is_root && !has_target && node.get("url").is_none() {
            return self.nothing_to_send();
        }
        let later: Vec<String> = extract_names(node).collect();
        let default_path = has_target.then_some("/");
        let around = Surroundings { scenario: node, extracted: &[], later: &later, default_path };
        let step = self.step(node, &around);
        let extracts = self.extracts(node);
        step.map(|step| Step { extracts, ..step })
    }

    fn nothing_to_send(&mut self) -> Option<Step> {
        if !self.has_unknown_keys {
            let problem = Problem::new(&Place::top(), "the plan sends nothing");
            self.problems.push(problem.advice(format!("add `url: /path`, or {}", quoted(["scenarios"]))));
        }
        None
    }
}

/// `url: https://host/path` at the top, when it names the host as well.
fn whole_url_to_path(root: &Node) -> Option<Node> {
    if root.get("target").is_some() || root.get("targets").is_some() {
        return None;
    }
    let url = root.get("url")?;
    let (_, rest) = url.scalar()?.split_once("://")?;
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut root = root.clone();
    let node = Node::text(&path, &url.place);
    root.set("url", &node.place.clone(), node);
    Some(root)
}

fn extract_names(node: &Node) -> impl Iterator<Item = String> {
    node.get("extract").map(Node::entries).unwrap_or_default().iter().map(|entry| entry.key.clone())
}

/// Steps without a name of their own may share method and path.
fn number_repeats(steps: &mut [Step]) {
    for n in 1..steps.len() {
        let base = steps[n].name.clone();
        let mut copy = 2;
        while steps[..n].iter().any(|earlier| earlier.name == steps[n].name) {
            steps[n].name = format!("{base} ({copy})");
            copy += 1;
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
