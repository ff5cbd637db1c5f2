//! A plan without a file: `squall run http://HOST/path --users 50 --for 30s`.
//!
//! The flags become the same tree a file does, each value placed at its flag,
//! so that every check applies and every problem names the flag.

use super::node::{Entry, Node, Value};
use super::problem::{Place, PlanProblems};
use super::{LoadedPlan, PlanSource, emit, load_tree};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What was given on the command line, as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuickPlan {
    pub url: String,
    /// `--users`
    pub users: Option<String>,
    /// `--rate`
    pub rate: Option<String>,
    /// `--for`
    pub duration: Option<String>,
    /// `--ramp-up`
    pub ramp_up: Option<String>,
    /// `--requests`
    pub requests: Option<String>,
    /// `-X`
    pub method: Option<String>,
    /// `-H`, each `Name: value`
    pub headers: Vec<String>,
    /// `-d`
    pub data: Option<Bytes>,
    /// `--timeout`
    pub timeout: Option<String>,
    /// `--seed`
    pub seed: Option<String>,
    /// `--insecure`: certificates are not verified
    pub insecure: bool,
    /// `--http2`: by ALPN on https, without asking on http
    pub http2: bool,
    /// `--slo`, any number
    pub slos: Vec<String>,
    /// `--set` and `--target`, as in [`PlanSource`]
    pub overrides: Vec<(String, String)>,
}

/// The name of the bundle's file when `-d` is not text.
const DATA_FILE: &str = "request-body";

impl QuickPlan {
    /// The plan as a file would have it, to travel like any other.
    pub fn source(&self) -> PlanSource {
        PlanSource {
            name: "plan.yaml".to_owned(),
            text: emit::yaml(&self.tree()),
            files: self.files(),
            overrides: self.overrides.clone(),
        }
    }

    /// The plan, or every problem, each naming its flag.
    pub fn load(&self) -> Result<LoadedPlan, PlanProblems> {
        load_tree("this command line", "", self.tree(), &self.files(), &self.overrides, Vec::new())
    }

    fn text_data(&self) -> Option<&str> {
        self.data.as_deref().and_then(|data| std::str::from_utf8(data).ok())
    }

    fn files(&self) -> BTreeMap<String, Bytes> {
        let data = self.data.clone().filter(|_| self.text_data().is_none());
        data.into_iter().map(|data| (DATA_FILE.to_owned(), data)).collect()
    }

    fn tree(&self) -> Node {
        let mut tree = Tree { entries: Vec::new() };
        let url_place = Place::flag("URL");
        tree.add("name", &Place::flag("plan"), Node::text("quick", &url_place));
        // Without a scheme the caller means http, as with other tools.
        let url = if self.url.contains("://") { self.url.clone() } else { format!("http://{}", self.url) };
        self.add_target(&mut tree, &url, &url_place);
        tree.flag("concurrency", "--users", self.users.as_deref());
        tree.flag("rate", "--rate", self.rate.as_deref());
        tree.flag("ramp_up_time", "--ramp-up", self.ramp_up.as_deref());
        tree.flag("hold_for", "--for", self.duration.as_deref());
        tree.flag("iterations", "--requests", self.requests.as_deref());
        tree.flag("timeout", "--timeout", self.timeout.as_deref());
        tree.flag("seed", "--seed", self.seed.as_deref());
        let default_method = self.data.as_ref().map(|_| "POST");
        tree.flag("method", "-X", self.method.as_deref().or(default_method));
        self.add_headers(&mut tree);
        let data_place = Place::flag("-d");
        match (self.text_data(), &self.data) {
            (Some(text), _) => tree.add("body", &data_place, Node::text(text, &data_place)),
            (None, Some(_)) => tree.add("body_file", &data_place, Node::text(DATA_FILE, &data_place)),
            (None, None) => {}
        }
        if !self.slos.is_empty() {
            let place = Place::flag("--slo");
            let items = self.slos.iter().map(|line| Node::text(line, &place)).collect();
            tree.add("slo", &place, Node { value: Value::List(items), place: place.clone() });
        }
        Node::map(tree.entries, &Place::flag("the command line"))
    }

    /// A whole URL, unless more is said of the target than that.
    fn add_target(&self, tree: &mut Tree, url: &str, place: &Place) {
        if !self.insecure && !self.http2 {
            return tree.add("url", place, Node::text(url, place));
        }
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let path_at = url[after_scheme..].find(['/', '?']).map_or(url.len(), |at| after_scheme + at);
        let (origin, path) = url.split_at(path_at);
        // As without these flags: `http://HOST?a=b` asks for `/?a=b`.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        tree.add("url", place, Node::text(&path, place));
        let mut target = Tree { entries: Vec::new() };
        target.add("url", place, Node::text(origin, place));
        if self.http2 {
            let place = Place::flag("--http2");
            target.add("http", &place, Node::text("2", &place));
        }
        if self.insecure {
            let place = Place::flag("--insecure");
            let mut tls = Tree { entries: Vec::new() };
            tls.add("insecure", &place, Node::plain("true", &place));
            target.add("tls", &place, Node::map(tls.entries, &place));
        }
        tree.add("target", place, Node::map(target.entries, place));
    }

    fn add_headers(&self, tree: &mut Tree) {
        let headers: Vec<Entry> = self
            .headers
            .iter()
            .map(|header| {
                let place = Place::flag(&format!("-H '{header}'"));
                let (name, value) = header.split_once(':').unwrap_or((header, ""));
                Entry { key: name.trim().to_owned(), node: Node::text(value.trim(), &place), key_place: place }
            })
            .collect();
        if !headers.is_empty() {
            let place = Place::flag("-H");
            tree.add("headers", &place, Node::map(headers, &place));
        }
    }
}

struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    fn add(&mut self, key: &str, place: &Place, node: Node) {
        self.entries.push(Entry { key: key.to_owned(), key_place: place.clone(), node });
    }

    fn flag(&mut self, key: &str, flag: &str, value: Option<&str>) {
        if let Some(value) = value {
            let place = Place::flag(flag);
            // Empty text is a wrong value here, not an absent one.
            let node = if value.is_empty() { Node::text(value, &place) } else { Node::plain(value, &place) };
            self.add(key, &place, node);
        }
    }
}
