//! Distributions of lengths, for prompts and answers.

use super::build::Builder;
use super::check::quoted;
use super::node::Node;
use super::prompts_table::LENGTH;
use crate::plan::prompts::{Length, LogNormalBy, MAX_TOKENS};

/// What names a distribution, apart from its bounds.
const FIGURES: [&str; 5] = ["mean", "stddev", "p50", "p99", "histogram"];
const ADVICE: &str = "write `min` and `max`, `mean` and `stddev`, `p50` and `p99`, or `histogram`";

impl Builder<'_> {
    /// A number, or a map of figures.
    pub(super) fn length(&mut self, node: &Node) -> Option<Length> {
        let length = match node.scalar() {
            Some(_) => Length::Fixed(in_range(node)?),
            None => self.distribution(node)?,
        };
        match length.check() {
            Ok(()) => Some(length),
            Err(problem) => {
                self.problem(node, &problem, "change the figures so that they can all be true");
                None
            }
        }
    }

    fn distribution(&mut self, node: &Node) -> Option<Length> {
        let is_told = |key: &str| node.get(key).is_some() && bound(node, key).is_none();
        if LENGTH.misspelt(node) || ["min", "max", "mean", "stddev", "p50", "p99"].into_iter().any(is_told) {
            return None;
        }
        let given: Vec<&str> = FIGURES.into_iter().filter(|key| node.get(key).is_some()).collect();
        let figure = |key: &str| bound(node, key).map(f64::from);
        let (min, max) = (bound(node, "min"), bound(node, "max"));
        let is_log = node.text_of("shape") == Some("lognormal");
        if let Some(shape) = node.get("shape").filter(|_| given != ["mean", "stddev"]) {
            self.problem(shape, "`shape` goes with `mean` and `stddev`", "remove it");
        }
        let (min_tokens, max_tokens) = (min.unwrap_or(1), max.unwrap_or(MAX_TOKENS));
        match given.as_slice() {
            ["mean", "stddev"] if is_log => {
                let by = LogNormalBy::Moments { mean: figure("mean")?, stddev: figure("stddev")? };
                Some(Length::LogNormal { by, min: min_tokens, max: max_tokens })
            }
            ["mean", "stddev"] => {
                let (mean, stddev) = (figure("mean")?, figure("stddev")?);
                Some(Length::Normal { mean, stddev, min: min_tokens, max: max_tokens })
            }
            ["p50", "p99"] => {
                let by = LogNormalBy::Percentiles { p50: figure("p50")?, p99: figure("p99")? };
                Some(Length::LogNormal { by, min: min_tokens, max: max_tokens })
            }
            ["histogram"] if min.is_none() && max.is_none() => self.histogram(node.get("histogram")?),
            [] if min.is_some() && max.is_some() => Some(Length::Uniform { min: min_tokens, max: max_tokens }),
            _ => {
                let keys: Vec<&str> = node.entries().iter().map(|entry| entry.key.as_str()).collect();
                let message = match keys.as_slice() {
                    [] => "this length has no figures".to_owned(),
                    [key] => format!("`{key}` alone names no distribution"),
                    keys => format!("{} together name no distribution", quoted(keys.iter().copied())),
                };
                self.problem(node, &message, ADVICE);
                None
            }
        }
    }

    fn histogram(&mut self, node: &Node) -> Option<Length> {
        let mut bars = Vec::new();
        for item in node.items() {
            match item.get("tokens") {
                Some(tokens) => bars.push((in_range(tokens)?, item.count_of("weight").unwrap_or(1) as f64)),
                None => self.problem(item, "this bar has no length", "write e.g. `{tokens: 512, weight: 3}`"),
            }
        }
        (bars.len() == node.items().len()).then_some(Length::Histogram(bars))
    }
}

fn bound(node: &Node, key: &str) -> Option<u32> {
    in_range(node.get(key)?)
}

/// What does not fit was told when the shape was checked.
fn in_range(node: &Node) -> Option<u32> {
    u32::try_from(node.as_count()?).ok().filter(|tokens| (1..=MAX_TOKENS).contains(tokens))
}
