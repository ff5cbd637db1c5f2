//! `prompts`: where the prompts of calls to models come from. Their files are
//! read by `squall-prompts`, which tells what is wrong in them.

use super::build::Builder;
use super::check::quoted;
use super::node::{Entry, Node};
use super::problem::Problem;
use super::prompts_table::PROMPTS;
use crate::plan::prompts::{
    DataFile, Message, Output, PromptOrder, Prompts, PromptsFrom, Role, SharedPrefix, Synthetic, Take, TokenizerChoice,
    TraceReplay,
};
use std::time::Duration;

/// What prompts can come from, and the keys that only go with it.
const SOURCES: [(&str, &[&str]); 5] = [
    ("file", &["order", "take"]),
    ("messages", &[]),
    ("texts", &["order"]),
    ("tokens", &["prefix", "turns"]),
    ("trace", &["speed", "start", "length"]),
];
/// What goes with any source.
const COMMON: [&str; 2] = ["output", "tokenizer"];

impl Builder<'_> {
    pub(super) fn build_prompts(&mut self, root: &Node) {
        for entry in root.get("prompts").map(Node::entries).unwrap_or_default() {
            if !super::overrides::is_name(&entry.key) {
                self.problems.push(
                    Problem::new(&entry.key_place, format!("`{}` cannot name prompts", entry.key))
                        .advice("use letters, digits, `_` and `-`, beginning with a letter"),
                );
            }
            let output = self.output(&entry.node);
            let tokenizer = self.tokenizer(&entry.node);
            let (Some(from), Some(output), Some(tokenizer)) = (self.prompts_from(entry), output, tokenizer) else {
                continue;
            };
            self.prompts.push(Prompts { name: entry.key.clone(), from, output, tokenizer });
        }
    }

    fn prompts_from(&mut self, entry: &Entry) -> Option<PromptsFrom> {
        let node = &entry.node;
        if node.scalar().is_some() {
            return self.recorded(node, node);
        }
        let given: Vec<&str> = SOURCES.iter().map(|(key, _)| *key).filter(|key| node.entry(key).is_some()).collect();
        let [source] = given.as_slice() else {
            if given.is_empty() && PROMPTS.misspelt(node) {
                return None;
            }
            let message = match given.as_slice() {
                [] => format!("prompts `{}` come from nowhere", entry.key),
                several => format!("prompts `{}` come from {} at once", entry.key, quoted(several.iter().copied())),
            };
            let advice = format!("write one of {}", quoted(SOURCES.iter().map(|(key, _)| *key)));
            self.problems.push(Problem::new(&entry.key_place, message).advice(advice));
            return None;
        };
        self.check_keys_go_with(node, source);
        let value = node.get(source)?;
        match *source {
            "file" => self.recorded(value, node),
            "messages" => Some(PromptsFrom::Inline { prompts: vec![self.messages(value)?], order: order(node) }),
            "texts" => Some(PromptsFrom::Inline { prompts: self.texts(value)?, order: order(node) }),
            "tokens" => self.synthetic(value, node),
            _ => self.trace(value, node),
        }
    }

    fn check_keys_go_with(&mut self, node: &Node, source: &str) {
        for entry in node.entries() {
            let homes: Vec<&str> =
                SOURCES.iter().filter(|(_, keys)| keys.contains(&entry.key.as_str())).map(|(key, _)| *key).collect();
            let is_at_home = homes.is_empty() || homes.contains(&source);
            if !is_at_home && !COMMON.contains(&entry.key.as_str()) {
                let message = format!("`{}` does nothing to `{source}`", entry.key);
                let advice = format!("it goes with {}", quoted(homes));
                self.problems.push(Problem::new(&entry.key_place, message).advice(advice));
            }
        }
        if source == "trace"
            && let Some(output) = node.get("output")
        {
            self.problem(output, "a trace brings the lengths of its answers", "remove `output`");
        }
    }

    fn recorded(&mut self, file: &Node, node: &Node) -> Option<PromptsFrom> {
        let take = match node.text_of("take") {
            Some("last_turn") => Take::LastTurn,
            _ => Take::FirstTurn,
        };
        Some(PromptsFrom::File { file: self.data_file(file)?, order: order(node), take })
    }

    fn data_file(&mut self, node: &Node) -> Option<DataFile> {
        Some(DataFile { name: node.scalar()?.to_owned(), bytes: self.file(node)? })
    }

    fn messages(&mut self, node: &Node) -> Option<Vec<Message>> {
        let mut messages = Vec::new();
        for item in node.items() {
            match item.text_of("content") {
                Some(content) => messages.push(Message {
                    role: item.text_of("role").and_then(Role::from_word).unwrap_or(Role::User),
                    content: content.to_owned(),
                }),
                None => self.problem(item, "this message has no `content`", "write what is said"),
            }
        }
        if !messages.iter().any(|message| message.role == Role::User) {
            self.problem(node, "no message of the user in it", "add `{role: user, content: …}`");
            return None;
        }
        Some(messages)
    }

    fn texts(&mut self, node: &Node) -> Option<Vec<Vec<Message>>> {
        let said = |text: &str| vec![Message { role: Role::User, content: text.to_owned() }];
        let prompts: Vec<Vec<Message>> = node.items().iter().filter_map(Node::scalar).map(said).collect();
        if prompts.is_empty() {
            self.problem(node, "no prompt is given", "write at least one text");
            return None;
        }
        Some(prompts)
    }

    fn synthetic(&mut self, tokens: &Node, node: &Node) -> Option<PromptsFrom> {
        let tokens = self.length(tokens);
        let turns = match node.get("turns") {
            Some(turns) => self.length(turns),
            None => Some(crate::plan::prompts::Length::Fixed(1)),
        };
        let prefix = match node.get("prefix") {
            Some(prefix) => Some(self.shared_prefix(prefix)?),
            None => None,
        };
        Some(PromptsFrom::Synthetic(Synthetic { tokens: tokens?, prefix, turns: turns? }))
    }

    fn shared_prefix(&mut self, node: &Node) -> Option<SharedPrefix> {
        let Some(tokens) = node.count_of("tokens") else {
            self.problem(node, "the prefix has no length", "add e.g. `tokens: 1024`");
            return None;
        };
        let zipf = self.number(node, "zipf", 0.0)?;
        let count = node.count_of("count").unwrap_or(1);
        let prefix = SharedPrefix { tokens: u32::try_from(tokens).ok()?, count: u32::try_from(count).ok()?, zipf };
        match prefix.check() {
            Ok(()) => Some(prefix),
            Err(problem) => {
                self.problem(node, &problem, "e.g. `{tokens: 1024, count: 50, zipf: 1}`");
                None
            }
        }
    }

    fn trace(&mut self, file: &Node, node: &Node) -> Option<PromptsFrom> {
        let speed = self.number(node, "speed", 1.0);
        if let Some(at) = node.get("speed").filter(|_| speed == Some(0.0)) {
            self.problem(at, "a trace at speed 0 never ends", "write e.g. `speed: 0.5` for half as fast");
        }
        let file = self.data_file(file);
        Some(PromptsFrom::Trace(TraceReplay {
            file: file?,
            speed: speed?,
            start: node.duration_of("start").unwrap_or(Duration::ZERO),
            length: node.duration_of("length"),
        }))
    }

    /// A number from 0 up, with or without a fraction.
    fn number(&mut self, node: &Node, key: &str, default: f64) -> Option<f64> {
        let Some(at) = node.get(key) else { return Some(default) };
        let text = at.scalar()?;
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        if number.is_none() {
            self.problem(at, &format!("`{key}`: `{text}` is not a number from 0 up"), "write e.g. `1.5`");
        }
        number
    }

    fn output(&mut self, node: &Node) -> Option<Output> {
        match node.get("output") {
            None => Some(Output::Unlimited),
            Some(output) if output.scalar() == Some("recorded") => {
                if node.get("file").is_none() && node.get("messages").is_none() && node.get("trace").is_none() {
                    self.problem(output, "no answers are recorded here", "write a number of tokens");
                }
                Some(Output::Recorded)
            }
            Some(output) => self.length(output).map(Output::Drawn),
        }
    }

    fn tokenizer(&mut self, node: &Node) -> Option<TokenizerChoice> {
        let Some(tokenizer) = node.get("tokenizer") else { return Some(TokenizerChoice::Estimate) };
        match tokenizer.scalar()? {
            "estimate" => Some(TokenizerChoice::Estimate),
            name if name.ends_with(".json") => self.data_file(tokenizer).map(TokenizerChoice::File),
            name => Some(TokenizerChoice::OpenAi(name.to_owned())),
        }
    }
}

fn order(node: &Node) -> PromptOrder {
    match node.text_of("order") {
        Some("random") => PromptOrder::Random,
        Some("shuffled") => PromptOrder::Shuffled,
        _ => PromptOrder::Sequential,
    }
}
