//! A plan made ready to send: templates with secrets in place, regexes
//! compiled, and for every request × target what goes on the wire.

use super::escape::escape_json;
use crate::http::Want;
use crate::secrets::{Secrets, Values, breaks_a_header};
use bytes::Bytes;
use http::Method;
use regex::Regex;
use squall_common::plan::{
    Api, BodyTemplate, Check, ExtractFrom, LoadId, ModelCall, Part, Plan, Prompted, Scenario, ScenarioId, SecretId,
    Step, StepId, Target, TargetId, Template, ThinkTime, VarId,
};

/// Shared by all workers of an agent.
pub struct CompiledPlan {
    /// By scenario, step.
    steps: Vec<Vec<CompiledStep>>,
    /// By load, feeder.
    pub feeder_lanes: Vec<Vec<FeederLane>>,
    /// By scenario, feeder: whether any of its steps takes a value from it.
    draws: Vec<Vec<bool>>,
}

/// A load's place among the loads that draw from one feeder: iterations of
/// different loads have the same numbers and must not get the same rows.
#[derive(Clone, Copy)]
pub struct FeederLane {
    pub index: u64,
    pub count: u64,
}

pub struct CompiledStep {
    /// By target; `None` where the step never goes.
    requests: Vec<Option<CompiledRequest>>,
    /// The step's own target, over the iteration's.
    pub target: Option<TargetId>,
    pub want: Want,
    pub accepts: Vec<squall_common::plan::StatusMatch>,
    pub checks: Vec<Check>,
    pub extracts: Vec<CompiledExtract>,
    pub think: Option<ThinkTime>,
    pub timeout: std::time::Duration,
    /// The answer is a model's.
    pub model_call: Option<ModelCall>,
}

pub struct CompiledRequest {
    pub method: Method,
    pub path: Template,
    pub headers: Vec<(Bytes, Template)>,
    pub body: CompiledBody,
    /// The access token in its headers, by secret.
    pub token: Option<usize>,
    /// Nothing in it varies but secrets, whose changes are rare: rendered once, sent again as it is.
    pub is_fixed: bool,
}

pub enum CompiledBody {
    None,
    Template(Template),
    /// Values go into the strings of a JSON text.
    Json(Template),
    Bytes(Bytes),
    Prompted(PromptedBody),
}

/// A JSON object that gets its prompt first, and then the rest of its fields.
pub struct PromptedBody {
    /// Position in the run's prompt sources.
    pub source: usize,
    /// A list of messages, else one text.
    pub wants_messages: bool,
    /// Up to the prompt: `{"messages":`.
    pub opening: Bytes,
    /// Between prompt and limit, if there is one: `,"max_tokens":`.
    pub limit: Option<Bytes>,
    /// The other fields, with the comma before them and the bracket after them.
    pub rest: Template,
}

pub struct CompiledExtract {
    pub into: VarId,
    pub from: CompiledFrom,
}

pub enum CompiledFrom {
    Json(String),
    Regex(Regex),
    Header(String),
}

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("scenario `{scenario}`, request `{step}`: `{method}` is not a method")]
    Method { scenario: String, step: String, method: String },
    #[error("scenario `{scenario}`, request `{step}`: {source}")]
    Regex { scenario: String, step: String, source: regex::Error },
    #[error("the secret in header `{header}` holds a line break or another control character; store it without")]
    SecretInHeader { header: String },
}

impl CompiledPlan {
    pub fn new(plan: &Plan, secrets: &Secrets) -> Result<Self, CompileError> {
        let secrets = &Fixed { secrets, values: secrets.values() };
        let steps = plan
            .scenarios
            .iter()
            .map(|scenario| {
                scenario
                    .steps
                    .iter()
                    .map(|step| {
                        let reached: Vec<TargetId> = match step.target {
                            Some(only) => vec![only],
                            None => scenario.targets.iter().map(|&(target, _)| target).collect(),
                        };
                        compile_step(plan, &scenario.name, step, &reached, secrets, scenario.cookies)
                    })
                    .collect()
            })
            .collect::<Result<_, _>>()?;
        let of_scenario = |scenario: &Scenario| {
            (0..plan.feeders.len()).map(|feeder| scenario.steps.iter().any(|step| step_draws(step, feeder))).collect()
        };
        let draws: Vec<Vec<bool>> = plan.scenarios.iter().map(of_scenario).collect();
        Ok(Self { steps, feeder_lanes: feeder_lanes(plan, &draws), draws })
    }

    /// Whether the scenario takes values from the feeder.
    pub fn draws(&self, scenario: ScenarioId, feeder: usize) -> bool {
        self.draws[scenario.0 as usize][feeder]
    }

    pub fn step(&self, scenario: ScenarioId, step: StepId) -> &CompiledStep {
        &self.steps[scenario.0 as usize][step.0 as usize]
    }

    pub fn steps_of(&self, scenario: ScenarioId) -> u16 {
        self.steps[scenario.0 as usize].len() as u16
    }
}

impl CompiledStep {
    /// The request for a target that the plan lets this step reach.
    pub fn request(&self, target: TargetId) -> &CompiledRequest {
        self.requests[target.0 as usize].as_ref().expect("compiled for every target the plan names")
    }
}

fn compile_step(
    plan: &Plan,
    scenario: &str,
    step: &Step,
    reached: &[TargetId],
    secrets: &Fixed<'_>,
    cookies: bool,
) -> Result<CompiledStep, CompileError> {
    let names = || (scenario.to_owned(), step.name.clone());
    let method = Method::from_bytes(step.method.as_bytes()).map_err(|_| {
        let (scenario, step_name) = names();
        CompileError::Method { scenario, step: step_name, method: step.method.clone() }
    })?;
    let extracts = step
        .extracts
        .iter()
        .map(|extract| {
            let from = match &extract.from {
                ExtractFrom::Json { pointer } => CompiledFrom::Json(pointer.clone()),
                ExtractFrom::Header { name } => CompiledFrom::Header(name.clone()),
                ExtractFrom::Regex { pattern } => CompiledFrom::Regex(Regex::new(pattern).map_err(|source| {
                    let (scenario, step) = names();
                    CompileError::Regex { scenario, step, source }
                })?),
            };
            Ok(CompiledExtract { into: extract.into, from })
        })
        .collect::<Result<Vec<_>, CompileError>>()?;
    let reads_body = |check: &Check| matches!(check, Check::BodyContains(_) | Check::JsonEquals { .. });
    let want = Want {
        headers: cookies
            || plan.keep_errors.is_some()
            || step.checks.iter().any(|check| matches!(check, Check::Header { .. }))
            || extracts.iter().any(|extract| matches!(extract.from, CompiledFrom::Header(_))),
        body: plan.keep_errors.is_some_and(|keep| keep.body_bytes > 0)
            || step.checks.iter().any(reads_body)
            || extracts.iter().any(|extract| !matches!(extract.from, CompiledFrom::Header(_)))
            // A stream is read while it comes; what is not one, when it is whole.
            || step.model_call.as_ref().is_some_and(|call| !call.is_streamed),
    };
    let mut accepts = Vec::new();
    let mut checks = Vec::new();
    for check in &step.checks {
        match check {
            Check::Status(statuses) => accepts.extend(statuses),
            other => checks.push(other.clone()),
        }
    }
    let mut requests: Vec<Option<CompiledRequest>> = plan.targets.iter().map(|_| None).collect();
    for &target in reached {
        let request = compile_request(plan.target(target), step, method.clone(), secrets, cookies)?;
        requests[target.0 as usize] = Some(request);
    }
    Ok(CompiledStep {
        requests,
        target: step.target,
        want,
        accepts,
        checks,
        extracts,
        think: step.think.clone(),
        timeout: step.timeout,
        model_call: step.model_call.clone(),
    })
}

fn compile_request(
    target: &Target,
    step: &Step,
    method: Method,
    secrets: &Fixed<'_>,
    cookies: bool,
) -> Result<CompiledRequest, CompileError> {
    let of_target = target.headers.iter().filter(|(name, _)| step.headers.iter().all(|(own, _)| own != name));
    let headers: Vec<(Bytes, Template)> = step
        .headers
        .iter()
        .chain(of_target)
        .map(|(name, value)| {
            // The plan's own text was checked when it was read; a secret is seen here first.
            let breaks = |part: &Part| matches!(part, Part::Secret(id) if breaks_a_header(secrets.value(*id)));
            if value.parts.iter().any(breaks) {
                return Err(CompileError::SecretInHeader { header: name.clone() });
            }
            let value = with_secrets(value, secrets, false);
            Ok((Bytes::copy_from_slice(name.as_bytes()), value))
        })
        .collect::<Result<_, _>>()?;
    let path = match &step.model_call {
        Some(call) => Template::literal(target.endpoint.path(call.api, &target.base_path)),
        None => with_secrets(&step.path, secrets, false),
    };
    let of_target = step.model_call.as_ref().and_then(|call| with_model(target, call, &step.body));
    let body = match of_target.as_ref().unwrap_or(&step.body) {
        BodyTemplate::None => CompiledBody::None,
        BodyTemplate::Text(template) => CompiledBody::Template(with_secrets(template, secrets, false)),
        BodyTemplate::Json(template) => CompiledBody::Json(with_secrets(template, secrets, true)),
        BodyTemplate::Bytes(bytes) => CompiledBody::Bytes(bytes.clone()),
    };
    let body = match (step.model_call.as_ref().and_then(|call| Some((call.api, call.prompted?))), body) {
        (Some((api, prompted)), CompiledBody::Json(template)) => {
            CompiledBody::Prompted(prompted_body(api, prompted, template))
        }
        (_, body) => body,
    };
    let fixed =
        |template: &Template| template.parts.iter().all(|part| matches!(part, Part::Literal(_) | Part::Secret(_)));
    let is_fixed = !cookies
        && fixed(&path)
        && headers.iter().all(|(_, value)| fixed(value))
        && match &body {
            CompiledBody::Template(template) | CompiledBody::Json(template) => fixed(template),
            CompiledBody::None | CompiledBody::Bytes(_) => true,
            CompiledBody::Prompted(_) => false,
        };
    let token = headers.iter().flat_map(|(_, value)| &value.parts).find_map(|part| match part {
        Part::Secret(id) if secrets.secrets.is_token(usize::from(id.0)) => Some(usize::from(id.0)),
        _ => None,
    });
    Ok(CompiledRequest { method, path, headers, body, token, is_fixed })
}

/// The same object with room for a prompt in front.
fn prompted_body(api: Api, prompted: Prompted, mut rest: Template) -> PromptedBody {
    if let Some(Part::Literal(text)) = rest.parts.first_mut() {
        let fields = text.strip_prefix(b"{").unwrap_or(text);
        // An object without other fields goes on with its end.
        *text = if fields.starts_with(b"}") { fields.to_vec().into() } else { [b",", fields].concat().into() };
    }
    PromptedBody {
        source: usize::from(prompted.by.0),
        wants_messages: api == Api::Chat,
        opening: format!("{{\"{}\":", prompted.field).into(),
        limit: prompted.limit.map(|field| format!(",\"{field}\":").into()),
        rest,
    }
}

/// The body with the model that this target wants named in it.
fn with_model(target: &Target, call: &ModelCall, body: &BodyTemplate) -> Option<BodyTemplate> {
    let model = target.endpoint.model(call.api).filter(|_| !call.names_model)?;
    let BodyTemplate::Json(template) = body else { return None };
    let mut template = template.clone();
    let Some(Part::Literal(text)) = template.parts.first_mut() else { return None };
    let rest = text.strip_prefix(b"{")?;
    let named = format!("{{\"model\":{},", serde_json::Value::from(model));
    *text = [named.as_bytes(), rest].concat().into();
    Some(BodyTemplate::Json(template))
}

/// The secrets and their values when the plan is compiled.
struct Fixed<'a> {
    secrets: &'a Secrets,
    values: Values,
}

impl Fixed<'_> {
    fn value(&self, SecretId(id): SecretId) -> &Bytes {
        &self.values[usize::from(id)]
    }
}

/// By secret, whether a header holds it.
pub fn secrets_in_headers(plan: &Plan) -> Vec<bool> {
    let of_steps = plan.scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(|step| &step.headers);
    let headers = plan.targets.iter().flat_map(|target| &target.headers).chain(of_steps);
    let mut in_headers = vec![false; plan.secrets.len()];
    for part in headers.flat_map(|(_, value)| &value.parts) {
        if let Part::Secret(SecretId(id)) = part {
            in_headers[usize::from(*id)] = true;
        }
    }
    in_headers
}

/// The template with the values of secrets that can't change as literals, joined to their neighbours.
fn with_secrets(template: &Template, secrets: &Fixed<'_>, in_json: bool) -> Template {
    let mut parts: Vec<Part> = Vec::with_capacity(template.parts.len());
    for part in &template.parts {
        let part = match part {
            Part::Secret(id) if !secrets.secrets.may_change(usize::from(id.0)) => {
                let mut value = secrets.value(*id).to_vec();
                if in_json {
                    escape_json(&mut value, 0);
                }
                Part::Literal(value.into())
            }
            other => other.clone(),
        };
        match (parts.last_mut(), &part) {
            (Some(Part::Literal(before)), Part::Literal(text)) => *before = [&before[..], &text[..]].concat().into(),
            _ => parts.push(part),
        }
    }
    Template { parts }
}

fn feeder_lanes(plan: &Plan, draws: &[Vec<bool>]) -> Vec<Vec<FeederLane>> {
    let draws = |load: LoadId, feeder: usize| {
        plan.load(load).drives.iter().any(|&(scenario, _)| draws[scenario.0 as usize][feeder])
    };
    plan.load_ids()
        .map(|load| {
            (0..plan.feeders.len())
                .map(|feeder| {
                    let index = plan.load_ids().filter(|&other| other < load && draws(other, feeder)).count() as u64;
                    let count = plan.load_ids().filter(|&other| draws(other, feeder)).count() as u64;
                    FeederLane { index, count: count.max(1) }
                })
                .collect()
        })
        .collect()
}

fn step_draws(step: &Step, feeder: usize) -> bool {
    let draws = |template: &Template| {
        template.parts.iter().any(|part| matches!(part, Part::Column(id, _) if id.0 as usize == feeder))
    };
    draws(&step.path)
        || step.headers.iter().any(|(_, value)| draws(value))
        || matches!(&step.body, BodyTemplate::Text(template) | BodyTemplate::Json(template) if draws(template))
}
