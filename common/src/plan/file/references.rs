//! Which files a plan refers to.

use super::node::Node;
use super::{overrides, yaml};
use std::collections::BTreeSet;

/// The files to bring along: feeders, prompts, bodies and certificates (never keys), as
/// the plan names them. A plan that does not parse refers to none; `load` says why.
pub fn referenced_files(text: &str, overrides: &[(String, String)]) -> Vec<String> {
    let mut ignored = Vec::new();
    let Some(mut root) = yaml::parse(text, &mut ignored) else { return Vec::new() };
    overrides::apply(&mut root, overrides, &mut ignored);
    overrides::substitute_vars(&mut root, &mut ignored, &mut Vec::new());
    let mut files = BTreeSet::new();
    let mut add = |file: Option<&str>| files.extend(file.filter(|file| !file.is_empty()).map(str::to_owned));
    for feeder in values(&root, "feeders") {
        add(feeder.scalar().or_else(|| feeder.text_of("file")));
    }
    for prompts in values(&root, "prompts") {
        add(prompts.scalar().or_else(|| prompts.text_of("file")));
        add(prompts.text_of("trace"));
        add(prompts.text_of("tokenizer").filter(|name| name.ends_with(".json")));
    }
    for tls in values(&root, "targets").filter_map(|target| target.get("tls")) {
        add(tls.text_of("ca"));
        add(tls.text_of("client_cert"));
    }
    for place in std::iter::once(&root).chain(values(&root, "scenarios")) {
        add(place.text_of("body_file"));
        for step in place.get("steps").map(Node::items).unwrap_or_default() {
            add(step.text_of("body_file"));
        }
    }
    files.into_iter().collect()
}

fn values<'n>(root: &'n Node, key: &str) -> impl Iterator<Item = &'n Node> {
    root.get(key).map(Node::entries).unwrap_or_default().iter().map(|entry| &entry.node)
}
