//! Calls to models: `chat`, `completions`, `embeddings`, `responses`; the keys of a
//! target that say how it serves them; and who asks.

use super::build::Builder;
use super::check::quoted;
use super::node::Node;
use super::problem::Problem;
use super::requests::whole_place;
use super::slos::parse_bound;
use super::suggest::nearest;
use super::targets::parse_url;
use super::template::{Coding, Names, join};
use crate::plan::{
    Api, BodyTemplate, DEFAULT_API_VERSION, Endpoint, ModelCall, Part, Prompted, PromptsId, Proof, Scheme, SecretId,
    SecretSource, Template, TokenGrant,
};
use serde_json::{Value as Json, json};
use std::time::Duration;

pub(super) const DEFAULT_AUTHORITY: &str = "https://login.microsoftonline.com";
/// Of Azure's AI services.
pub(super) const DEFAULT_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const DEFAULT_STALL: Duration = Duration::from_secs(1);
/// Other keys that say what is sent.
const RIVALS: [&str; 16] = [
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
];

/// The model call among the keys of a step, if it is one.
pub(super) fn call_of(node: &Node) -> Option<(Api, &Node)> {
    Api::ALL.into_iter().find_map(|api| Some((api, node.get(api.name())?)))
}

impl Builder<'_> {
    /// What a step sends that calls a model, and how its answer is read.
    pub(super) fn model_call(
        &mut self,
        node: &Node,
        scenario: &Node,
        headers: &mut Vec<(String, Template)>,
        names: &Names<'_>,
    ) -> Option<(ModelCall, BodyTemplate)> {
        let (api, asked) = call_of(node)?;
        let rivals = RIVALS.into_iter().chain(Api::ALL.map(Api::name).into_iter().filter(|key| *key != api.name()));
        for entry in rivals.filter_map(|key| node.entry(key)) {
            let problem = Problem::new(&entry.key_place, format!("`{}` stands beside `{}`", entry.key, api.name()));
            self.problems.push(problem.advice("one of them says what is sent: remove the other"));
        }
        let mut body = match asked.to_json() {
            Json::Object(map) => map,
            Json::String(text) => shorthand(api, &text),
            _ => {
                let advice = format!("write `{}: {{{}: …}}`, or a text", api.name(), needed(api));
                self.problem(asked, &format!("`{}` says nothing to send", api.name()), &advice);
                return None;
            }
        };
        let prompted = match body.remove("prompts") {
            Some(name) => self.prompted(api, asked, name.as_str().unwrap_or_default(), &body),
            None => {
                self.check_needed(api, asked, &body);
                None
            }
        };
        self.check_stream(api, asked, &body);
        let is_streamed = body.get("stream") == Some(&Json::Bool(true));
        if is_streamed && matches!(api, Api::Chat | Api::Completions) && !body.contains_key("stream_options") {
            // Without it the server's own count of tokens is not sent.
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), Template::literal("application/json")));
        }
        let names_model = body.contains_key("model");
        let text = Json::Object(body).to_string();
        let template = self.templates.parse(&text, &whole_place(asked), names, Coding::AsIs, true);
        let own_or_around = |key: &str| node.get(key).or_else(|| scenario.get(key));
        let stall = own_or_around("stall_above").and_then(Node::as_duration).unwrap_or(DEFAULT_STALL);
        let mut goodput = Vec::new();
        for item in own_or_around("goodput").map(Node::items).unwrap_or_default() {
            match parse_bound(item.scalar().unwrap_or_default()) {
                Ok(bound) => goodput.push(bound),
                Err(wrong) => {
                    let problem = Problem::new(&item.place, wrong.message).advice(wrong.advice);
                    // Seen once for every step that inherits it.
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem.focus(&wrong.focus));
                    }
                }
            }
        }
        let call = ModelCall { api, is_streamed, names_model, prompted, stall, goodput };
        Some((call, BodyTemplate::Json(template)))
    }

    /// The prompts that a call names.
    fn prompted(
        &mut self,
        api: Api,
        asked: &Node,
        name: &str,
        body: &serde_json::Map<String, Json>,
    ) -> Option<Prompted> {
        let at = asked.get("prompts").unwrap_or(asked);
        let field = needed(api);
        if body.contains_key(field) {
            self.problem(at, &format!("`prompts` and `{field}` both say what is asked"), "keep one of them");
        }
        let names = || self.prompts.iter().map(|prompts| prompts.name.as_str());
        let Some(id) = names().position(|known| known == name) else {
            let advice = match nearest(name, names()) {
                Some(near) => format!("write `{near}`"),
                None if self.prompts.is_empty() => "describe them under `prompts:` at the top of the plan".to_owned(),
                None => format!("there are {}", quoted(names())),
            };
            self.problem(at, &format!("there are no prompts `{name}`"), &advice);
            return None;
        };
        let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let limit = match api {
            Api::Embeddings => None,
            Api::Responses => Some("max_output_tokens"),
            Api::Chat | Api::Completions => Some("max_tokens"),
        };
        let limit = limit.filter(|_| limits.iter().all(|key| !body.contains_key(*key)));
        Some(Prompted { by: PromptsId(id as u16), field, limit })
    }

    fn check_needed(&mut self, api: Api, asked: &Node, body: &serde_json::Map<String, Json>) {
        let needed = needed(api);
        match body.get(needed) {
            None => {
                self.problem(asked, &format!("`{}` has no `{needed}`", api.name()), &format!("add `{needed}: …`"));
            }
            Some(Json::Array(list)) if list.is_empty() => {
                let at = asked.get(needed).unwrap_or(asked);
                self.problem(at, &format!("`{needed}` is empty"), "write at least one");
            }
            Some(messages) if api == Api::Chat && !messages.is_array() => {
                let at = asked.get(needed).unwrap_or(asked);
                self.problem(at, "`messages` is a list", "write `messages: [{role: user, content: …}]`");
            }
            Some(_) => {}
        }
    }

    fn check_stream(&mut self, api: Api, asked: &Node, body: &serde_json::Map<String, Json>) {
        match (api, body.get("stream")) {
            (_, None | Some(Json::Bool(false))) => {}
            (Api::Embeddings, Some(_)) => {
                let at = asked.get("stream").unwrap_or(asked);
                self.problem(at, "embeddings are never streamed", "remove `stream`");
            }
            (_, Some(Json::Bool(true))) => {}
            (_, Some(_)) => {
                let at = asked.get("stream").unwrap_or(asked);
                self.problem(at, "`stream` is `true` or `false`", "write `stream: true`");
            }
        }
    }

    /// How a target serves models.
    pub(super) fn endpoint(&mut self, node: &Node, name: &str) -> Endpoint {
        let text = |key: &str| node.text_of(key).map(str::to_owned);
        let (deployment, model, api_version) = (text("deployment"), text("model"), text("api_version"));
        if let Some(at) = node.get("deployment").or(node.get("api_version"))
            && [&deployment, &api_version].into_iter().flatten().any(|text| !is_url_part(text))
        {
            self.problem(at, "this cannot stand in a URL", "use letters, digits, `.`, `_` and `-`");
        }
        let api = node.text_of("api");
        match api.unwrap_or(if deployment.is_some() { "azure" } else { "openai" }) {
            azure @ ("azure" | "azure_v1") => {
                if let Some(model) = node.get("model") {
                    self.problem(model, "on Azure a model is reached by its deployment", "write `deployment: …`");
                }
                let Some(deployment) = deployment else {
                    let at = node.get("api").unwrap_or(node);
                    self.problem(at, &format!("target `{name}` names no deployment"), "add `deployment: …`");
                    let api_version = DEFAULT_API_VERSION.to_owned();
                    return Endpoint::AzureDeployment { deployment: String::new(), api_version };
                };
                if azure == "azure" {
                    let api_version = api_version.unwrap_or_else(|| DEFAULT_API_VERSION.to_owned());
                    Endpoint::AzureDeployment { deployment, api_version }
                } else {
                    Endpoint::AzureV1 { deployment, api_version }
                }
            }
            _ => {
                for key in ["deployment", "api_version"] {
                    if let Some(extra) = node.get(key) {
                        self.problem(extra, &format!("`{key}` belongs to Azure"), "write `model: …`, or `api: azure`");
                    }
                }
                Endpoint::OpenAi { model }
            }
        }
    }

    /// The header that `auth` of a target, or of the whole plan, stands for.
    pub(super) fn auth_header(&mut self, auth: Option<&Node>, endpoint: &Endpoint) -> Option<(String, Template)> {
        let auth = auth?;
        let given: Vec<(&str, &Node)> =
            ["api_key", "bearer", "entra"].into_iter().filter_map(|key| Some((key, auth.get(key)?))).collect();
        let (value, as_bearer) = match given.as_slice() {
            [] => {
                self.problem(auth, "`auth` says nothing", "write `api_key: ${env:NAME}` or `bearer: ${env:NAME}`");
                return None;
            }
            [("entra", application)] => {
                let token = Template { parts: vec![Part::Secret(self.token_grant(application)?)] };
                return Some(bearer_header(token));
            }
            [(key, value)] => (*value, *key == "bearer" || matches!(endpoint, Endpoint::OpenAi { .. })),
            [(first, _), (second, extra), ..] => {
                self.problem(extra, &format!("`{first}` and `{second}` are both given"), "keep one of them");
                return None;
            }
        };
        let text = value.scalar()?;
        if !text.contains("${") && !text.contains("{{") {
            let message = "a key is written in the plan, and so in every result";
            self.warning(&value.place, message, "write a reference such as `${env:API_KEY}`");
        }
        let names = Names { feeders: &[], extracted: &[], later: &[], vars: &[] };
        let template = self.templates.parse(text, &value.place, &names, Coding::AsIs, true);
        Some(if as_bearer { bearer_header(template) } else { ("api-key".to_owned(), template) })
    }

    /// The secret that is a token of this application.
    fn token_grant(&mut self, node: &Node) -> Option<SecretId> {
        let mut required = |key: &str| {
            let text = node.text_of(key).filter(|text| !text.is_empty()).map(str::to_owned);
            if text.is_none() {
                self.problem(node, &format!("`entra` has no `{key}`"), &format!("add `{key}: …`"));
            }
            text
        };
        let (tenant, client_id) = (required("tenant"), required("client_id"));
        let proof = match (node.get("client_secret"), node.get("assertion")) {
            (Some(secret), None) => self.referred(secret).map(Proof::Secret),
            (None, Some(assertion)) => self.referred(assertion).map(Proof::Assertion),
            (Some(_), Some(extra)) => {
                self.problem(extra, "`client_secret` and `assertion` are both given", "keep one of them");
                None
            }
            (None, None) => {
                self.problem(node, "`entra` has no proof of who asks", "add `client_secret: ${env:NAME}`");
                None
            }
        };
        let (tenant, client_id, proof) = (tenant?, client_id?, proof?);
        if let Some(at) = node.get("tenant").filter(|_| !is_url_part(&tenant)) {
            self.problem(at, "this cannot stand in a URL", "use letters, digits, `.`, `_` and `-`");
            return None;
        }
        let authority = node.text_of("authority").unwrap_or(DEFAULT_AUTHORITY).trim_end_matches('/');
        let at = node.get("authority").unwrap_or(node);
        let parsed = match parse_url(authority) {
            Ok(url) => url,
            Err((message, advice)) => {
                self.problem(at, &message, &advice);
                return None;
            }
        };
        let is_here = matches!(parsed.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if parsed.scheme == Scheme::Http && !is_here {
            self.problem(at, "a secret would go over the network in plain text", "write `https://…`");
            return None;
        }
        Some(self.templates.secret_id(SecretSource::Token(Box::new(TokenGrant {
            url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
            host: parsed.host,
            port: parsed.port,
            client_id,
            scope: node.text_of("scope").unwrap_or(DEFAULT_SCOPE).to_owned(),
            proof,
        }))))
    }

    /// The secret that a value is a reference to, and nothing else.
    fn referred(&mut self, node: &Node) -> Option<SecretId> {
        let names = Names { feeders: &[], extracted: &[], later: &[], vars: &[] };
        let template = self.templates.parse(node.scalar()?, &node.place, &names, Coding::AsIs, true);
        match template.parts.as_slice() {
            [Part::Secret(id)] => Some(*id),
            _ => {
                self.problem(node, "this is no reference to a secret", "write `${env:NAME}` or `${file:PATH}`");
                None
            }
        }
    }

    /// What can be said only when scenarios and targets are known.
    pub(super) fn check_model_calls(&mut self, root: &Node) {
        let mut problems = Vec::new();
        for scenario in &self.scenarios {
            for step in &scenario.steps {
                let Some(call) = &step.model_call else { continue };
                let reached: Vec<_> = match step.target {
                    Some(only) => vec![only],
                    None => scenario.targets.iter().map(|(id, _)| *id).collect(),
                };
                for target in reached.iter().filter_map(|id| self.targets.get(usize::from(id.0))) {
                    let node = root.get("scenarios").and_then(|all| all.entry(&scenario.name));
                    let place = node.map_or_else(super::problem::Place::top, |entry| entry.key_place.clone());
                    let needs_model = matches!(target.endpoint, Endpoint::OpenAi { model: None });
                    if needs_model && !call.names_model {
                        let message = format!("target `{}` names no model for `{}`", target.name, call.api.name());
                        let advice = "add `model: …` or, for Azure, `deployment: …` to the target";
                        problems.push(Problem::new(&place, message).advice(advice));
                    }
                    if call.is_streamed && !target.accept_encoding.is_empty() {
                        let message = format!(
                            "target `{}` asks for compressed bodies, and streams of tokens cannot be read so",
                            target.name
                        );
                        problems.push(Problem::new(&place, message).advice("remove `accept_encoding` from the target"));
                    }
                }
            }
        }
        problems.dedup();
        self.problems.append(&mut problems);
        let steps = self.scenarios.iter().flat_map(|scenario| &scenario.steps);
        let used: Vec<PromptsId> = steps.filter_map(|step| Some(step.model_call.as_ref()?.prompted?.by)).collect();
        let unused = root.get("prompts").map(Node::entries).unwrap_or_default().iter().filter(|entry| {
            let id = self.prompts.iter().position(|prompts| prompts.name == entry.key);
            id.is_some_and(|id| !used.contains(&PromptsId(id as u16)))
        });
        let unused: Vec<(super::problem::Place, String)> = unused
            .map(|entry| (entry.key_place.clone(), format!("nothing asks the prompts `{}`", entry.key)))
            .collect();
        for (place, message) in unused {
            self.warning(&place, &message, "name them in a call: `chat: {prompts: NAME}`");
        }
    }

    /// `stall_above` and `goodput` mean something only where a model is called.
    pub(super) fn check_model_keys(&mut self, node: &Node, has_calls: bool) {
        if has_calls {
            return;
        }
        for entry in ["stall_above", "goodput"].into_iter().filter_map(|key| node.entry(key)) {
            let problem = Problem::new(&entry.key_place, format!("`{}` has no effect: no model is called", entry.key));
            self.problems.push(problem.advice("remove it, or send the request as `chat: …`"));
        }
    }
}

/// The field without which the API does not answer.
fn needed(api: Api) -> &'static str {
    match api {
        Api::Chat => "messages",
        Api::Completions => "prompt",
        Api::Embeddings | Api::Responses => "input",
    }
}

fn is_url_part(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn bearer_header(token: Template) -> (String, Template) {
    ("authorization".to_owned(), join([Template::literal("Bearer "), token]))
}

/// A bare text in place of the body.
fn shorthand(api: Api, text: &str) -> serde_json::Map<String, Json> {
    let value = match api {
        Api::Chat => json!([{"role": "user", "content": text}]),
        Api::Completions | Api::Embeddings | Api::Responses => json!(text),
    };
    std::iter::once((needed(api).to_owned(), value)).collect()
}
