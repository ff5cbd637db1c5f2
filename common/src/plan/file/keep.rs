//! `keep_errors`: which samples of failed requests leave the agent, and how.

use super::build::Builder;
use super::node::Node;
use super::template::{Coding, Names};
use crate::plan::{KeepErrors, Part, Pseudonyms, SecretId};

const DEFAULT_PER_TARGET: u64 = 20;

impl Builder<'_> {
    pub(super) fn keep_errors(&mut self, root: &Node) -> Option<KeepErrors> {
        let node = root.get("keep_errors")?;
        // Checked before: a bare number is `per_target`.
        let per_target = node.as_count().or_else(|| node.count_of("per_target")).unwrap_or(DEFAULT_PER_TARGET) as u32;
        let body_bytes = node.count_of("body_bytes").unwrap_or(0) as u32;
        let asks = node.flag_of("pseudonymise").unwrap_or(false);
        let key = self.pseudonym_key(node, asks);
        if let (true, 0, Some(at)) = (asks, body_bytes, node.get("pseudonymise")) {
            self.problem(at, "there is no body to pseudonymise", "write `body_bytes: 512` beside it, or remove it");
        }
        if let (false, 1.., Some(at)) = (asks, body_bytes, node.get("body_bytes")) {
            let message = "what responses to failed requests say leaves the agents as it is";
            self.warning(&at.place, message, "write `pseudonymise: true` beside it, unless no user's data is in there");
        }
        let pseudonymise = asks.then(|| key.map_or(Pseudonyms::Random, Pseudonyms::Keyed));
        Some(KeepErrors { per_target, body_bytes, pseudonymise })
    }

    fn pseudonym_key(&mut self, node: &Node, asks: bool) -> Option<SecretId> {
        let at = node.get("key")?;
        if !asks {
            self.problem(at, "a key without `pseudonymise` has no use", "write `pseudonymise: true` beside it");
        }
        let names = Names { extracted: &[], later: &[], feeders: &[], vars: &[] };
        let before = self.templates.problems.len();
        let template = self.templates.parse(at.scalar().unwrap_or_default(), &at.place, &names, Coding::AsIs, true);
        match template.parts.as_slice() {
            [Part::Secret(id)] => Some(*id),
            _ if self.templates.problems.len() > before => None,
            _ => {
                let advice = "write `${file:/run/secrets/key}` or `${env:KEY}`, or remove it: each agent makes its own";
                self.problem(at, "the key is no reference to a secret", advice);
                None
            }
        }
    }
}
