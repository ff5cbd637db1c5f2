//! What the user typed -> [`Plan`], or every problem in one pass.
//!
//! The text becomes a tree that knows its places ([`yaml`]); `--set` and vars
//! are put in ([`overrides`]); the tree is checked against one table of the
//! plan's shape ([`table`], [`check`]), which is also where the JSON Schema
//! comes from; what passed is built ([`build`]) and its meaning checked there.
//!
//! Nothing is read here: the caller brings the files the plan refers to
//! ([`referenced_files`]), so that a plan travels as one bundle.

mod build;
mod check;
mod checks;
mod emit;
mod feeders;
mod init;
mod keep;
mod lengths;
mod loads;
mod models;
mod node;
mod overrides;
mod problem;
mod prompts;
mod prompts_table;
mod quick;
mod read;
mod references;
mod requests;
mod scenarios;
mod schema;
mod shape;
mod slos;
mod suggest;
mod table;
mod targets;
mod template;
mod yaml;

pub use init::INIT_PLAN;
pub use problem::{Origin, Place, PlanProblems, Problem, ShowWarnings};
pub use quick::QuickPlan;
pub use references::referenced_files;
pub use schema::json_schema;
pub(crate) use suggest::nearest;

use super::Plan;
use bytes::Bytes;
use node::Node;
use std::collections::BTreeMap;

/// A plan as typed, with all it refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanSource {
    /// The file's name, shown in problems.
    pub name: String,
    /// YAML.
    pub text: String,
    /// The files that [`referenced_files`] names, by the names the plan uses.
    pub files: BTreeMap<String, Bytes>,
    /// `--set KEY=VALUE`, and `("target", URL)` for `--target URL`.
    pub overrides: Vec<(String, String)>,
}

/// A plan that can run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedPlan {
    pub plan: Plan,
    /// The plan with vars and overrides applied; secrets only as references. It loads to the same plan.
    pub resolved_yaml: String,
    /// What may not be meant, but can run.
    pub warnings: Vec<Problem>,
}

/// The plan, or every problem in it.
pub fn load(source: &PlanSource) -> Result<LoadedPlan, PlanProblems> {
    let mut problems = Vec::new();
    let root = yaml::parse(&source.text, &mut problems);
    let root = match root {
        Some(root) if root.is_map() => root,
        Some(root) if !root.is_null() => {
            let problem = Problem::new(&root.place, format!("a plan is a map of keys, this is {}", root.describe()));
            problems.push(problem.advice("write e.g. `url: /` and `concurrency: 10` on lines of their own"));
            return Err(PlanProblems::new(&source.name, &source.text, problems));
        }
        _ => {
            if problems.is_empty() {
                problems.push(
                    Problem::new(&Place::top(), "the plan is empty").advice("`squall init` writes one to begin with"),
                );
            }
            return Err(PlanProblems::new(&source.name, &source.text, problems));
        }
    };
    load_tree(&source.name, &source.text, root, &source.files, &source.overrides, problems)
}

fn load_tree(
    name: &str,
    text: &str,
    mut root: Node,
    files: &BTreeMap<String, Bytes>,
    overrides: &[(String, String)],
    mut problems: Vec<Problem>,
) -> Result<LoadedPlan, PlanProblems> {
    let mut warnings = Vec::new();
    overrides::apply(&mut root, overrides, &mut problems);
    let vars = overrides::substitute_vars(&mut root, &mut problems, &mut warnings);
    check::check(&root, &table::PLAN, &mut problems);
    let mut builder = build::Builder::new(files, vars);
    let plan = builder.plan(&root, name);
    problems.append(&mut builder.problems);
    problems.append(&mut builder.templates.problems);
    warnings.append(&mut builder.warnings);
    match plan {
        Some(plan) if problems.is_empty() => {
            if root.get("name").is_none() {
                root.set("name", &Place::top(), Node::text(&plan.name, &Place::top()));
            }
            let warnings = problem::in_file_order(text, warnings);
            Ok(LoadedPlan { plan, resolved_yaml: emit::yaml(&root), warnings })
        }
        _ => {
            if problems.is_empty() {
                problems.push(Problem::new(&Place::top(), "the plan cannot be built"));
            }
            Err(PlanProblems::new(name, text, problems))
        }
    }
}

#[cfg(test)]
mod tests;
