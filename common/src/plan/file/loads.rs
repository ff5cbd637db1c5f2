//! Load profiles: from users, rates and phases to levels over time.

use super::build::Builder;
use super::node::{Entry, Node};
use super::problem::{Origin, Place, Problem};
use super::read::Level;
use super::table::MOST_USERS;
use crate::plan::{Arrivals, Load, LoadModel, MaxInFlight, Phase, PhaseKind, Region, ScenarioId, WhenFull};
use std::time::Duration;

/// More than this are a mistake in `by`.
const MOST_PHASES: usize = 10_000;

/// The short form's keys and those of `load`.
const SHORT: [(&str, &str); 8] = [
    ("concurrency", "users"),
    ("throughput", "rate"),
    ("rate", "rate"),
    ("ramp_up_time", "ramp_up"),
    ("hold_for", "for"),
    ("iterations", "iterations"),
    ("pacing", "pacing"),
    ("arrivals", "arrivals"),
];

/// What a load's keys are called where it was written.
#[derive(Clone, Copy)]
enum Words {
    Load,
    Short,
    Flags,
}

impl Words {
    fn short(root: &Node) -> Self {
        if matches!(root.place.origin, Origin::Flag(_)) { Self::Flags } else { Self::Short }
    }

    /// `key` with a value, as the user would write it.
    fn example(self, key: &'static str, value: &str) -> String {
        match self {
            Self::Load => format!("`{key}: {value}`"),
            Self::Short => {
                let short = SHORT.iter().find(|(_, long)| *long == key).map_or(key, |(short, _)| short);
                format!("`{short}: {value}`")
            }
            Self::Flags => format!("`--{} {value}`", key.replace('_', "-")),
        }
    }
}

impl Builder<'_> {
    pub(super) fn build_loads(&mut self, root: &Node) {
        let short = short_load(root);
        let shared = match (root.get("load"), short) {
            (Some(load), None) => Some((load.clone(), Words::Load)),
            (None, Some(_)) if root.get("scenarios").is_some() => {
                for (key, long) in SHORT {
                    if let Some(entry) = root.entry(key) {
                        let problem = Problem::new(&entry.key_place, format!("`{key}` stands beside `scenarios`"));
                        self.problems.push(problem.advice(format!("write `{long}` under `load`")));
                    }
                }
                return;
            }
            (None, Some(short)) => Some((short, Words::short(root))),
            (Some(load), Some(_)) if matches!(load.place.origin, Origin::Flag(_)) => {
                let long = load.entries().first().map_or("rate", |entry| entry.key.as_str());
                let mut shorts = SHORT.iter().filter(|(_, of)| *of == long).map(|(short, _)| *short);
                let here = shorts.clone().find(|short| root.entry(short).is_some());
                let short = here.or(shorts.next()).unwrap_or(long);
                let entry = load.entries().first().map_or(&load.place, |entry| &entry.key_place);
                let problem = Problem::new(entry, "this plan is in the short form and has no `load`");
                self.problems.push(problem.advice(format!("write `--set {short}=…`")));
                return;
            }
            (Some(_), Some(short)) => {
                let entry = short.entries().first().map_or(&root.place, |entry| &entry.key_place);
                let problem = Problem::new(entry, "`load` and the short form both say how much");
                self.problems.push(problem.advice("keep `load` and remove this"));
                return;
            }
            (None, None) => None,
        };
        let mut sharing: Vec<(ScenarioId, u32)> = Vec::new();
        let scenarios = root.get("scenarios").map(Node::entries).unwrap_or_default();
        for (n, entry) in scenarios.iter().enumerate() {
            let id = ScenarioId(n as u16);
            match entry.node.get("load") {
                Some(load) => {
                    if let Some(weight) = entry.node.get("weight") {
                        self.warning(
                            &weight.place,
                            "`weight` has no effect beside the scenario's own `load`",
                            "remove it",
                        );
                    }
                    self.push_load(&entry.key, load, Words::Load, vec![(id, 1)], entry.node.get("from"));
                }
                None if shared.is_some() => sharing.push((id, entry.node.count_of("weight").unwrap_or(1) as u32)),
                None => {
                    let problem = Problem::new(&entry.key_place, format!("scenario `{}` has no load", entry.key));
                    self.problems.push(problem.advice("add `load: {users: 10, for: 1m}` to it or to the plan"));
                }
            }
        }
        let from = self.shared_from(root, scenarios, sharing.len());
        match shared {
            Some((load, words)) if scenarios.is_empty() => {
                self.push_load("main", &load, words, vec![(ScenarioId(0), 1)], from)
            }
            Some((load, words)) if !sharing.is_empty() => self.push_load("main", &load, words, sharing, from),
            Some((load, _)) => {
                self.warning(&load.place, "every scenario has its own load: this one drives none", "remove it")
            }
            None if root.get("scenarios").is_none() => self.no_load(root),
            None => {}
        }
    }

    fn no_load(&mut self, root: &Node) {
        if !self.has_unknown_keys {
            let words = Words::short(root);
            let [users, rate, length] =
                [("users", "10"), ("rate", "100/s"), ("for", "1m")].map(|(key, value)| words.example(key, value));
            let place = if matches!(words, Words::Flags) { root.place.clone() } else { Place::top() };
            let problem = Problem::new(&place, "nothing says how much load");
            self.problems.push(problem.advice(format!("add {users} and {length}, or {rate} and {length}")));
        }
    }

    /// `from` beside a shared load: the plan's, or that of the only scenario.
    fn shared_from<'n>(&mut self, root: &'n Node, scenarios: &'n [Entry], n_sharing: usize) -> Option<&'n Node> {
        let mut from = root.get("from");
        for entry in scenarios.iter().filter(|entry| entry.node.get("load").is_none()) {
            match entry.node.get("from") {
                Some(own) if n_sharing == 1 => from = Some(own),
                Some(own) => self.problem(
                    own,
                    "scenarios that share a load share its regions",
                    "give the scenario its own `load`",
                ),
                None => {}
            }
        }
        from
    }

    fn push_load(
        &mut self,
        name: &str,
        node: &Node,
        words: Words,
        drives: Vec<(ScenarioId, u32)>,
        from: Option<&Node>,
    ) {
        if let (Some(_), Some(extra)) = (from, node.get("from")) {
            self.problem(extra, "`from` is given twice", "keep one of them");
        }
        let from = from.or_else(|| node.get("from")).map(|from| self.from(from)).unwrap_or_default();
        if let Some(model) = self.model(node, words) {
            self.loads.push(Load { name: name.to_owned(), drives, model, from });
        }
    }

    fn from(&mut self, node: &Node) -> Vec<(Region, u32)> {
        let mut regions = Vec::new();
        for (name, place, weight) in self.shares(node) {
            if let Some(region) = self.region(Some(&Node::text(&name, &place))) {
                regions.push((region, weight));
            }
        }
        regions
    }

    fn model(&mut self, node: &Node, words: Words) -> Option<LoadModel> {
        let iterations = node.get("iterations").or_else(|| node.get("iterations_per_user"));
        if let Some(phases) = node.get("phases") {
            for key in ["users", "rate", "for", "ramp_up", "iterations", "iterations_per_user", "at_most"] {
                if let Some(entry) = node.entry(key) {
                    let problem = Problem::new(&entry.key_place, format!("`{key}` stands beside `phases`"));
                    self.problems.push(problem.advice(format!("keep `phases` or `{key}`")));
                }
            }
            return self.phased(node, phases);
        }
        if let (Some(_), Some(rate)) = (node.get("users"), node.get("rate")) {
            self.problem(
                rate,
                "users loop and rates arrive: a load is one of them",
                "keep one; to bound a rate use `max_in_flight`",
            );
            return None;
        }
        if let Some(iterations) = iterations {
            return self.by_iterations(node, iterations, words);
        }
        if let Some(at_most) = node.get("at_most") {
            self.problem(at_most, "`at_most` ends a load by iterations", "write `for`, or add `iterations`");
        }
        let (key, level) = match (node.get("users"), node.get("rate")) {
            (Some(users), _) => (users, users.as_level()?),
            (_, Some(rate)) => (rate, rate.as_level()?),
            (None, None) => {
                let known = node.entries().iter().all(|entry| super::table::LOAD.field(&entry.key).is_some());
                if known && (matches!(words, Words::Load) || !self.has_unknown_keys) {
                    let [users, rate] = [words.example("users", "10"), words.example("rate", "100/s")];
                    let advice = format!("add {users} or {rate}, and {}", words.example("for", "1m"));
                    self.problem(node, "this load has no level", &advice);
                }
                return None;
            }
        };
        // No users at all were refused by their bounds.
        if matches!(level, Level::Rate(_)) {
            self.check_not_zero(key, level.value(), "rate");
        }
        let mut phases = Vec::new();
        if let Some(over) = node.duration_of("ramp_up").filter(|over| !over.is_zero()) {
            phases.push(phase("ramp-up", PhaseKind::Ramp, 0.0, level.value(), over));
        }
        if let Some(length) = node.duration_of("for") {
            phases.push(phase("hold", PhaseKind::Hold, level.value(), level.value(), length));
        }
        if phases.is_empty() {
            // A length that does not parse was reported.
            if node.get("for").is_none() && node.get("ramp_up").is_none_or(|ramp| ramp.as_duration().is_some()) {
                let advice = format!("add {}", words.example("for", "1m"));
                self.problem(key, "nothing says how long the load lasts", &advice);
            }
            return None;
        }
        self.finish(node, matches!(level, Level::Rate(_)), phases)
    }

    fn by_iterations(&mut self, node: &Node, iterations: &Node, words: Words) -> Option<LoadModel> {
        if let (Some(_), Some(extra)) = (node.get("iterations"), node.get("iterations_per_user")) {
            self.problem(extra, "`iterations` and `iterations_per_user` are both given", "keep one of them");
        }
        if let Some(rate) = node.get("rate") {
            let advice = format!("write {} instead of the iterations", words.example("for", "1m"));
            self.problem(rate, "a rate lasts for a time, not for iterations", &advice);
        }
        if let Some(ramp_up) = node.get("ramp_up").filter(|ramp| ramp.as_duration().is_some_and(|over| !over.is_zero()))
        {
            self.problem(
                ramp_up,
                "a load by iterations has no ramp",
                "remove it, or write `for` instead of the iterations",
            );
        }
        for key in ["arrivals", "max_in_flight"] {
            self.only_open(node, key);
        }
        if node.text_of("model") == Some("open") {
            self.problem(
                node.get("model").unwrap_or(node),
                "a load by iterations is closed",
                "write `closed` or remove it",
            );
        }
        let users = node.count_of("users").unwrap_or(1) as u32;
        let count = iterations.as_count()?;
        let at_most = node.duration_of("at_most").or_else(|| node.duration_of("for"));
        let pacing = node.duration_of("pacing");
        if node.get("iterations_per_user").is_some() {
            return Some(LoadModel::PerUserIterations { users, iterations: count, at_most, pacing });
        }
        if count < u64::from(users) {
            let message = format!("{users} users share {count} iterations: some have none");
            self.warning(&iterations.place, &message, "raise the iterations, or write `iterations_per_user`");
        }
        Some(LoadModel::SharedIterations { users, iterations: count, at_most, pacing })
    }

    fn only_open(&mut self, node: &Node, key: &str) {
        if let Some(entry) = node.entry(key) {
            let problem = Problem::new(&entry.key_place, format!("`{key}` is for rates, and this load has users"));
            self.problems.push(problem.advice("remove it, or write `rate: 100/s` instead of the users"));
        }
    }

    fn finish(&mut self, node: &Node, is_open: bool, phases: Vec<Phase>) -> Option<LoadModel> {
        match (node.text_of("model"), is_open, node.get("model")) {
            (Some("open"), false, Some(model)) => self.problem(
                model,
                "the levels are users, which is the closed model",
                "write rates such as `50/s`, or `model: closed`",
            ),
            (Some("closed"), true, Some(model)) => self.problem(
                model,
                "the levels are rates, which is the open model",
                "write users such as `50`, or `model: open`",
            ),
            _ => {}
        }
        if phases.iter().all(|phase| phase.from == 0.0 && phase.to == 0.0) {
            // A hold at 0 was refused already.
            if !phases.iter().any(|phase| matches!(phase.kind, PhaseKind::Hold | PhaseKind::Spike)) {
                self.problem(node, "this load sends nothing at all", "give a phase a level above 0");
            }
            return None;
        }
        if !is_open {
            for key in ["arrivals", "max_in_flight"] {
                self.only_open(node, key);
            }
            return Some(LoadModel::Closed { phases, pacing: node.duration_of("pacing") });
        }
        if let Some(entry) = node.entry("pacing") {
            let problem = Problem::new(&entry.key_place, "`pacing` is for users, and this load is a rate");
            self.problems.push(problem.advice("remove it: the rate decides"));
        }
        let arrivals = if node.text_of("arrivals") == Some("poisson") { Arrivals::Poisson } else { Arrivals::Uniform };
        Some(LoadModel::Open { arrivals, phases, max_in_flight: self.max_in_flight(node) })
    }

    fn max_in_flight(&mut self, node: &Node) -> Option<MaxInFlight> {
        let given = node.get("max_in_flight")?;
        let limit = if given.is_map() { given.count_of("limit") } else { given.as_count() };
        if given.is_map() && given.get("limit").is_none() {
            self.problem(given, "`max_in_flight` has no `limit`", "add `limit: 100`");
        }
        let when_full = if given.text_of("when_full") == Some("skip") { WhenFull::Skip } else { WhenFull::Wait };
        Some(MaxInFlight { limit: limit? as u32, when_full })
    }

    fn check_not_zero(&mut self, node: &Node, level: f64, what: &str) {
        if level == 0.0 {
            self.problem(node, &format!("a {what} of 0 sends nothing"), "for a gap write `pause: 30s`");
        }
    }

    fn phased(&mut self, node: &Node, list: &Node) -> Option<LoadModel> {
        if list.is_list() && list.items().is_empty() {
            self.problem(list, "`phases` has none", "write `- {hold: 10/s, for: 1m}` below it");
            return None;
        }
        let mut profile = Profile { phases: Vec::new(), level: 0.0, unit: None, is_whole: true };
        for item in list.items().iter().filter(|item| item.is_map()) {
            if self.phase(item, &mut profile).is_none() {
                profile.is_whole = false;
            }
        }
        if profile.phases.len() > MOST_PHASES {
            self.problem(list, &format!("the profile has more than {MOST_PHASES} phases"), "make the steps higher");
            return None;
        }
        if !profile.is_whole || profile.phases.is_empty() {
            return None;
        }
        let is_open = profile.unit.unwrap_or(node.text_of("model") == Some("open"));
        self.finish(node, is_open, profile.phases)
    }

    /// Appends one item of `phases`; `None` when something in it is wrong.
    fn phase(&mut self, item: &Node, profile: &mut Profile) -> Option<()> {
        const KINDS: [&str; 5] = ["ramp", "hold", "steps", "spike", "pause"];
        let kinds: Vec<&'static str> = KINDS.into_iter().filter(|key| item.get(key).is_some()).collect();
        let kind = match kinds.as_slice() {
            [one] => *one,
            [] => {
                if item.entries().iter().all(|entry| {
                    KINDS.contains(&entry.key.as_str()) || ["for", "name", "base"].contains(&entry.key.as_str())
                }) {
                    self.problem(
                        item,
                        "this phase says nothing",
                        "write one of `ramp`, `hold`, `steps`, `spike`, `pause`",
                    );
                }
                return None;
            }
            [first, second, ..] => {
                self.problem(item, &format!("this phase is a `{first}` and a `{second}`"), "write them as two items");
                return None;
            }
        };
        for (key, allowed) in [("for", &["hold", "spike"][..]), ("base", &["spike"][..])] {
            if let Some(entry) = item.entry(key).filter(|_| !allowed.contains(&kind)) {
                let advice = match kind {
                    "ramp" => "write `ramp: {to: 50, over: 30s}`",
                    "pause" => "write `pause: 30s`",
                    _ => "remove it",
                };
                let problem = Problem::new(&entry.key_place, format!("`{key}` has no meaning for a `{kind}`"));
                self.problems.push(problem.advice(advice));
            }
        }
        let name =
            item.text_of("name").map(str::to_owned).unwrap_or_else(|| format!("{kind}-{}", profile.phases.len() + 1));
        let body = item.get(kind)?;
        match kind {
            "ramp" => self.ramp(body, name, profile),
            "steps" => self.staircase(body, &name, profile),
            "pause" => {
                profile.phases.push(phase(&name, PhaseKind::Pause, 0.0, 0.0, body.as_duration()?));
                profile.level = 0.0;
                Some(())
            }
            _ => self.level_phase(item, kind, name, profile),
        }
    }

    fn level_phase(&mut self, item: &Node, kind: &'static str, name: String, profile: &mut Profile) -> Option<()> {
        let node = item.get(kind)?;
        let level = self.level(node, profile)?;
        self.check_not_zero(node, level, kind);
        if item.get("for").is_none() {
            self.problem(node, &format!("this {kind} has no length"), "add `for: 30s`");
        }
        let is_spike = kind == "spike";
        let base = match item.get("base").filter(|_| is_spike) {
            Some(base) => self.level(base, profile)?,
            None if is_spike => profile.level,
            None => level,
        };
        let kind = if is_spike { PhaseKind::Spike } else { PhaseKind::Hold };
        profile.phases.push(phase(&name, kind, level, level, item.duration_of("for")?));
        profile.level = base;
        Some(())
    }

    fn ramp(&mut self, node: &Node, name: String, profile: &mut Profile) -> Option<()> {
        let from = match node.get("from") {
            Some(from) => self.level(from, profile)?,
            None => profile.level,
        };
        let to = self.part(node, "to", "ramp", "to: 50/s");
        let over = self.part(node, "over", "ramp", "over: 30s");
        let to = self.level(to?, profile)?;
        profile.phases.push(phase(&name, PhaseKind::Ramp, from, to, over?.as_duration()?));
        profile.level = to;
        Some(())
    }

    fn staircase(&mut self, node: &Node, name: &str, profile: &mut Profile) -> Option<()> {
        let parts = [("from", "from: 10/s"), ("by", "by: 10/s"), ("every", "every: 30s"), ("until", "until: 50/s")]
            .map(|(key, example)| self.part(node, key, "steps", example));
        let [from, by, every, until] = parts;
        let (from, by, until) = (self.level(from?, profile)?, self.level(by?, profile)?, self.level(until?, profile)?);
        let every = every?.as_duration()?;
        if by <= 0.0 {
            self.problem(node.get("by").unwrap_or(node), "steps of 0 never end", "write `by: 10/s`");
            return None;
        }
        // The last step may miss `until` by rounding alone.
        let n_steps = ((until - from).abs() / by + 1e-9).floor() as usize + 1;
        if n_steps > MOST_PHASES {
            self.problem(node, &format!("these are {n_steps} steps"), "make `by` larger");
            return None;
        }
        for n in 0..n_steps {
            let level = if until >= from { from + by * n as f64 } else { from - by * n as f64 }.max(0.0);
            if level > 0.0 {
                profile.phases.push(phase(&format!("{name}.{}", n + 1), PhaseKind::Step, level, level, every));
                profile.level = level;
            } else {
                profile.phases.push(phase(&format!("{name}.{}", n + 1), PhaseKind::Pause, 0.0, 0.0, every));
                profile.level = 0.0;
            }
        }
        Some(())
    }

    fn part<'n>(&mut self, node: &'n Node, key: &str, what: &str, example: &str) -> Option<&'n Node> {
        let part = node.get(key);
        if part.is_none() && node.is_map() && !node.entries().iter().any(|entry| entry.key == key) {
            self.problem(node, &format!("this `{what}` has no `{key}`"), &format!("add `{example}`"));
        }
        part
    }

    /// A level in the unit of the profile; 0 has none.
    fn level(&mut self, node: &Node, profile: &mut Profile) -> Option<f64> {
        let level = node.as_level()?;
        let is_open = match level {
            Level::Users(0.0) => return Some(0.0),
            Level::Users(users) if users > MOST_USERS as f64 => return None,
            Level::Users(_) => false,
            Level::Rate(_) => true,
        };
        if *profile.unit.get_or_insert(is_open) != is_open {
            let (this, others) = if is_open { ("a rate", "users") } else { ("users", "rates") };
            let advice =
                if is_open { "write users everywhere, e.g. `50`" } else { "write rates everywhere, e.g. `50/s`" };
            self.problem(node, &format!("this level is {this}, the ones before are {others}"), advice);
            return None;
        }
        Some(level.value())
    }
}

/// The phases so far, and the level a ramp without `from` starts at.
struct Profile {
    phases: Vec<Phase>,
    level: f64,
    /// Whether levels are rates; `None` until one has a unit.
    unit: Option<bool>,
    is_whole: bool,
}

fn phase(name: &str, kind: PhaseKind, from: f64, to: f64, duration: Duration) -> Phase {
    Phase { name: name.to_owned(), kind, from, to, duration }
}

/// The short form's keys as a `load`; with a rate, its users bound what is in flight.
fn short_load(root: &Node) -> Option<Node> {
    let mut entries: Vec<Entry> = Vec::new();
    for (short, long) in SHORT {
        if let Some(entry) = root.entry(short) {
            entries.push(Entry { key: long.to_owned(), ..entry.clone() });
        }
    }
    let place = entries.first()?.key_place.clone();
    let has_rate = entries.iter().any(|entry| entry.key == "rate");
    let has_iterations = entries.iter().any(|entry| entry.key == "iterations");
    for entry in entries.iter_mut().filter(|entry| entry.key == "users" && has_rate && !has_iterations) {
        entry.key = "max_in_flight".to_owned();
    }
    Some(Node::map(entries, &place))
}
