//! The shape of a plan: every key, what it takes, what it means.

use super::models::{DEFAULT_AUTHORITY, DEFAULT_SCOPE};
use super::prompts_table::PROMPTS;
use super::shape::{Field, Kind, Object};
use crate::plan::{KeepErrors, OnAgentLoss};
use Kind::{Bool, Count, DurationOrZero, Either, Json, Level, List, Map, Share, Text, Word};

pub(super) const fn field(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { key, kind, doc, default: None }
}

pub(super) const fn with_default(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Field {
    Field { key, kind, doc, default: Some(default) }
}

/// More users than this need more memory than a fleet has.
pub(super) const MOST_USERS: u64 = 1_000_000;
const MOST: u64 = 1_000_000_000_000;

const USERS: Kind = Count(1, MOST_USERS);
const TEXTS: Kind = Map(&Text);
const HEADERS_DOC: &str =
    "Header names and values. Values may hold `{{…}}` and secrets (`${env:NAME}`, `${file:PATH}`).";
const METHODS: &str = "The HTTP method.";
const BODY_DOC: &str = "The body as text. May hold `{{…}}` and secrets.";
const WEIGHTED_NAMES: Kind = Either(&[Text, List(&Text), Map(&Share)]);

pub(super) static PLAN: Object = Object {
    name: "plan",
    doc: "A Squall load-test plan. Either the short form (one request: `url`, `method`, …, `concurrency`, `hold_for`) or the full form (`targets`, `scenarios`, `load`).",
    shorthand: None,
    fields: &[
        with_default("name", Text, "the file's name", "Names the run in reports."),
        with_default(
            "seed",
            Count(0, u64::MAX),
            "1",
            "The same plan and seed send the same requests at the same instants.",
        ),
        field("tags", TEXTS, "Words of your own, carried into results."),
        field("vars", TEXTS, "Named values for `{{name}}` anywhere in the plan; `--set name=value` changes one."),
        field(
            "target",
            Either(&[Text, Kind::Object(&TARGET)]),
            "Where requests go, e.g. `https://shop.example`. Short for one entry of `targets`.",
        ),
        field("targets", Map(&Either(&[Text, Kind::Object(&TARGET)])), "Where requests go, by name: a URL or a map."),
        field("auth", Kind::Object(&AUTH), "Who asks: sent to every target without an `auth` of its own."),
        field(
            "feeders",
            Map(&Either(&[Text, Kind::Object(&FEEDER)])),
            "Rows of data, one for each iteration: `{{feeder.column}}`.",
        ),
        field(
            "prompts",
            Map(&Either(&[Text, Kind::Object(&PROMPTS)])),
            "What requests ask a model, by name: a file of recorded prompts or a map.",
        ),
        field("load", Kind::Object(&LOAD), "How much, when; shared by the scenarios by their `weight`."),
        field("scenarios", Map(&Kind::Object(&SCENARIO)), "Kinds of traffic, by name."),
        field(
            "slo",
            List(&Text),
            "What must hold, e.g. `p99(response_time) < 250ms for checkout in region azure/eastus`.",
        ),
        with_default("warm_up", DurationOrZero, "0s", "The first part of the run, left out of steady-state figures."),
        with_default("drain", DurationOrZero, "30s", "How long requests in flight may take after the last phase."),
        with_default("on_agent_loss", Word(&OnAgentLoss::WORDS), "fail", ON_AGENT_LOSS_DOC),
        with_default(
            "min_agents",
            Count(1, MOST_AGENTS),
            "1",
            "With fewer agents the run does not begin; with fewer left it fails, whatever `on_agent_loss` says.",
        ),
        field("start_when", Kind::Object(&START_WHEN), "Which agents the run waits for before it begins."),
        with_default("sample_log", Bool, "false", "Log the times of every sample on the agent (bounded)."),
        field(
            "keep_errors",
            Either(&[Count(1, KeepErrors::MOST_PER_TARGET as u64), Kind::Object(&KEEP_ERRORS)]),
            "Samples of failed requests for `errors.jsonl`: so many, or a map.",
        ),
        // The short form: one request and how much of it.
        field("concurrency", USERS, "Short form: users; with a rate, the most iterations in flight."),
        field("throughput", Kind::Rate, "Short form: requests per second, e.g. `500/s` (open model)."),
        field("rate", Kind::Rate, "Short form: the same as `throughput`."),
        field("ramp_up_time", DurationOrZero, "Short form: the level rises from 0 over this time."),
        field("hold_for", Kind::Duration, "Short form: how long the level is held."),
        field("iterations", Count(1, MOST), "Short form: requests altogether, shared by the users."),
        field("pacing", Kind::Duration, "Short form: a user starts its iterations no closer together."),
        field("arrivals", Word(&["uniform", "poisson"]), "Short form: how open arrivals are spaced."),
        field("protocol", Word(&["http", "https"]), "Short form: the scheme; `--target` overrides it."),
        field("host", Text, "Short form: the host, with a port if need be; `--target` overrides it."),
        field("url", Text, "Short form: the path and query, or a whole URL."),
        with_default("method", Text, "GET", METHODS),
        field("headers", TEXTS, HEADERS_DOC),
        field("query", TEXTS, "Appended to the path, percent-encoded."),
        field("payload", Text, "Short form: the body as text; the same as `body`."),
        field("body", Text, BODY_DOC),
        field("body_file", Text, "A file whose bytes are the body, sent as they are."),
        field("json", Json, "A body written as YAML and sent as JSON."),
        field("form", TEXTS, "A body of form fields, percent-encoded."),
        with_default("timeout", Kind::Duration, "30s", "From the attempt's start to the last byte."),
        field("checks", List(&Kind::Object(&CHECK)), "What a good response looks like."),
        field("extract", Map(&Kind::Object(&EXTRACT)), "Values taken out of the response, by name."),
        field("think_time", THINK_TIME, "Waited after each request."),
        field("steps", List(&Kind::Object(&STEP)), "The requests of one iteration, in order."),
        with_default("cookies", Bool, "false", "Send back the cookies that responses set."),
        field("from", Map(&Share), "Regions whose agents carry the load, e.g. `azure/eastus: 50%`."),
    ],
};

const MOST_AGENTS: u64 = 4_096;
const ON_AGENT_LOSS_DOC: &str = "When an agent is lost after the start: `fail` stops the run; with `continue` the others \
     go on and the hole is named; with `redistribute` they take its share over, too.";

pub(super) static START_WHEN: Object = Object {
    name: "start_when",
    doc: "Which agents must be there before the run begins.",
    shorthand: Some("agents"),
    fields: &[
        field("agents", Count(1, MOST_AGENTS), "At least so many."),
        field("regions", Map(&Count(1, MOST_AGENTS)), "At least so many in each, e.g. `azure/eastus: 2`."),
        with_default("within", Kind::Duration, "60s", "How long they are waited for."),
    ],
};

static KEEP_ERRORS: Object = Object {
    name: "keep_errors",
    doc: "Samples of failed requests, chosen evenly, that agents tell at the end.",
    shorthand: Some("per_target"),
    fields: &[
        with_default(
            "per_target",
            Count(1, KeepErrors::MOST_PER_TARGET as u64),
            "20",
            "The most of each scenario and target that one agent keeps.",
        ),
        with_default(
            "body_bytes",
            Count(0, KeepErrors::MOST_BODY_BYTES as u64),
            "0",
            "So much of the response's body leaves the agent, too.",
        ),
        with_default("pseudonymise", Bool, "false", "Strings in bodies are replaced by a keyed hash (HMAC-SHA256)."),
        field("key", Text, "The hash's key, `${file:PATH}` or `${env:NAME}`; default: random, by agent and run."),
    ],
};

pub(super) static TARGET: Object = Object {
    name: "target",
    doc: "Where requests go and how connections to it are kept.",
    shorthand: Some("url"),
    fields: &[
        field("url", Text, "`http://…` or `https://…`; a path in it is put before every request's path."),
        field("region", Text, "Where the target lives, e.g. `azure/eastus`."),
        field("api", Word(&["azure", "azure_v1", "openai"]), API_DOC),
        field("deployment", Text, "Azure: the deployment that models are called by."),
        with_default("api_version", Text, "2024-10-21 (azure), none (azure_v1)", "Azure: the version of its API."),
        field("model", Text, "Other endpoints: the model asked for where a call names none."),
        field("auth", Kind::Object(&AUTH), "Who asks; over the plan's own `auth`."),
        with_default("weight", Count(1, 1_000_000), "1", "Its part of a scenario's traffic."),
        field("headers", TEXTS, "Sent with every request to this target unless the request sets the same name."),
        with_default("http", Word(&["auto", "1.1", "2"]), "auto", "The HTTP version."),
        field("tls", Kind::Object(&TLS), "How `https` is trusted."),
        field("connections", Kind::Object(&CONNECTIONS), "How connections are kept; limits are for one agent."),
        field("dns", Kind::Object(&DNS), "How names are looked up."),
        with_default(
            "proxy",
            Word(&["none", "environment"]),
            "none",
            "`environment`: HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the agent.",
        ),
        with_default(
            "redirects",
            Either(&[Word(&["off"]), Count(1, 20)]),
            "off",
            "Follow up to this many, inside the same attempt's time.",
        ),
        field(
            "accept_encoding",
            List(&Word(&["gzip", "br", "deflate", "zstd"])),
            "Content codings asked for; bodies are decoded.",
        ),
    ],
};

const API_DOC: &str = "How models are reached: `azure` (`/openai/deployments/…`; the default with a `deployment`), `azure_v1` \
     (`/openai/v1/…`) or `openai` (`/v1/…`; the default).";
const CHAT_DOC: &str =
    "The body of a call to `…/chat/completions`: `messages` and any parameter of the API; or just what the user says.";

static AUTH: Object = Object {
    name: "auth",
    doc: "Who asks: exactly one of these, as a reference to a secret.",
    shorthand: None,
    fields: &[
        field("api_key", Text, "Sent as `api-key` to Azure, as `authorization: Bearer` elsewhere."),
        field("bearer", Text, "A token, sent as `authorization: Bearer`."),
        field("entra", Kind::Object(&ENTRA), "An application in Microsoft Entra ID, whose tokens each agent fetches."),
    ],
};

static ENTRA: Object = Object {
    name: "entra",
    doc: "Client credentials of Microsoft Entra ID (OAuth 2.0), with one of `client_secret` and `assertion`.",
    shorthand: None,
    fields: &[
        field("tenant", Text, "The directory's id or domain."),
        field("client_id", Text, "The application's id."),
        field("client_secret", Text, "Its secret, as a reference: `${env:NAME}` or `${file:PATH}`."),
        field("assertion", Text, "A JWT in its place, e.g. a workload identity's `${file:PATH}`."),
        with_default("scope", Text, DEFAULT_SCOPE, "What the token is for."),
        with_default("authority", Text, DEFAULT_AUTHORITY, "Where tokens come from."),
    ],
};

static TLS: Object = Object {
    name: "tls",
    doc: "How `https` is trusted.",
    shorthand: None,
    fields: &[
        field("ca", Text, "A PEM file trusted beside the system's roots; travels with the plan."),
        field("client_cert", Text, "A PEM file with the client's certificate chain; travels with the plan."),
        field("client_key", Text, "Path of the client's key on the agent; keys never travel."),
        with_default("insecure", Bool, "false", "Do not verify certificates; every result shows it."),
        field("server_name", Text, "The name sent in SNI and verified, instead of the URL's."),
    ],
};

static CONNECTIONS: Object = Object {
    name: "connections",
    doc: "How connections are kept; limits are for one agent.",
    shorthand: None,
    fields: &[
        field("max", Count(1, 1_000_000), "At most this many connections; default: as many as needed."),
        with_default("idle_timeout", Kind::Duration, "90s", "A connection idle longer is not reused."),
        field("lifetime", Kind::Duration, "A connection older is not reused."),
        field("max_requests", Count(1, MOST), "Requests after which a connection is closed; 1 means no keep-alive."),
        with_default("streams", Count(1, 100_000), "100", "Concurrent streams on one HTTP/2 connection."),
        field("source_addresses", List(&Text), "Local IP addresses, used in turn."),
        with_default("nodelay", Bool, "true", "TCP_NODELAY."),
        field("keepalive_probes", Kind::Duration, "TCP keep-alive probes after this idle time."),
        with_default("connect_timeout", Kind::Duration, "10s", "For the TCP and TLS handshakes."),
    ],
};

static DNS: Object = Object {
    name: "dns",
    doc: "How names are looked up.",
    shorthand: None,
    fields: &[with_default("refresh", Kind::Duration, "30s", "Names are looked up again after this time.")],
};

static FEEDER: Object = Object {
    name: "feeder",
    doc: "Rows of data, one for each iteration.",
    shorthand: Some("file"),
    fields: &[
        field("file", Text, "`x.csv` with a header line, or `x.jsonl` with one object a line."),
        field("rows", List(&Map(&Text)), "The rows themselves."),
        with_default(
            "order",
            Word(&["sequential", "random", "shuffled", "unique"]),
            "sequential",
            "`unique`: every row at most once in the whole fleet.",
        ),
        with_default(
            "when_exhausted",
            Word(&["skip", "recycle"]),
            "skip",
            "What `unique` does when its rows are used up.",
        ),
    ],
};

pub(super) static LOAD: Object = Object {
    name: "load",
    doc: "How much, when. Levels are users (`50`, closed model) or rates (`500/s`, open model).",
    shorthand: None,
    fields: &[
        field("model", Word(&["open", "closed"]), "Default: by the unit of the levels."),
        with_default("arrivals", Word(&["uniform", "poisson"]), "uniform", "How open arrivals are spaced."),
        field("users", USERS, "Users that loop (closed model)."),
        field("rate", Kind::Rate, "Iterations started per second (open model)."),
        field("for", Kind::Duration, "How long the level is held, after `ramp_up`."),
        field("ramp_up", DurationOrZero, "The level rises from 0 over this time."),
        field("phases", List(&Kind::Object(&PHASE)), "The profile, stretch by stretch, instead of `users` or `rate`."),
        field("iterations", Count(1, MOST), "Iterations altogether, shared by the users."),
        field("iterations_per_user", Count(1, MOST), "Iterations of each user."),
        field("pacing", Kind::Duration, "A user starts its iterations no closer together than this."),
        field(
            "max_in_flight",
            Either(&[USERS, Kind::Object(&MAX_IN_FLIGHT)]),
            "The most iterations in flight (open model).",
        ),
        field("at_most", Kind::Duration, "Ends a load by iterations."),
        field("from", Map(&Share), "Regions whose agents carry it, e.g. `azure/eastus: 50%`; default: all."),
    ],
};

static MAX_IN_FLIGHT: Object = Object {
    name: "max_in_flight",
    doc: "A bound on iterations in flight, for the whole fleet.",
    shorthand: Some("limit"),
    fields: &[
        field("limit", USERS, "How many."),
        with_default(
            "when_full",
            Word(&["wait", "skip"]),
            "wait",
            "`wait`: the wait is in response time. `skip`: skipped and counted.",
        ),
    ],
};

static PHASE: Object = Object {
    name: "phase",
    doc: "One stretch of a profile: exactly one of `ramp`, `hold`, `steps`, `spike`, `pause`.",
    shorthand: None,
    fields: &[
        field("name", Text, "Names the phase in reports."),
        field("ramp", Kind::Object(&RAMP), "The level goes straight from one value to another."),
        field("hold", Level, "The level stays; needs `for`."),
        field("steps", Kind::Object(&STEPS), "A staircase."),
        field("spike", Level, "The level jumps; needs `for`."),
        field("pause", Kind::Duration, "Nothing is sent for this time."),
        field("for", Kind::Duration, "How long `hold` or `spike` lasts."),
        field(
            "base",
            Level,
            "The level that a following `ramp` without `from` starts at; default: the one before the spike.",
        ),
    ],
};

static RAMP: Object = Object {
    name: "ramp",
    doc: "The level goes straight from `from` to `to`.",
    shorthand: None,
    fields: &[
        with_default("from", Level, "the level before", "Where it starts."),
        field("to", Level, "Where it ends."),
        field("over", Kind::Duration, "How long it takes."),
    ],
};

static STEPS: Object = Object {
    name: "steps",
    doc: "A staircase from `from` to `until`, `by` at a time, each step held for `every`.",
    shorthand: None,
    fields: &[
        field("from", Level, "The first level."),
        field("by", Level, "The height of a step."),
        field("every", Kind::Duration, "How long each level is held."),
        field("until", Level, "The last level, included."),
    ],
};

const THINK_TIME: Kind = Either(&[DurationOrZero, Kind::Object(&THINK)]);

static THINK: Object = Object {
    name: "think_time",
    doc: "A wait of random length, seeded.",
    shorthand: None,
    fields: &[field("between", List(&DurationOrZero), "The shortest and the longest wait, e.g. `[1s, 3s]`.")],
};

pub(super) static SCENARIO: Object = Object {
    name: "scenario",
    doc: "One kind of traffic: `steps`, or a single request written inline.",
    shorthand: None,
    fields: &[
        with_default("weight", Count(1, 1_000_000), "1", "Its part of the plan's `load`."),
        field("target", WEIGHTED_NAMES, "The target, or several; default: all, by their weights."),
        field("targets", WEIGHTED_NAMES, "The same as `target`."),
        field("tags", TEXTS, "Words of your own, carried into results."),
        with_default("cookies", Bool, "false", "Send back the cookies that responses set."),
        field("think_time", THINK_TIME, "Waited after each request."),
        field("from", Map(&Share), "Regions whose agents carry the scenario's own `load`."),
        field("load", Kind::Object(&LOAD), "The scenario's own load, instead of a part of the plan's."),
        field("steps", List(&Kind::Object(&STEP)), "The requests of one iteration, in order."),
        field("chat", Json, CHAT_DOC),
        field("completions", Json, "The body of a call to `…/completions`, or just its prompt."),
        field("embeddings", Json, "The body of a call to `…/embeddings`, or just its input."),
        field("responses", Json, "The body of a call to `…/responses`, or just its input."),
        with_default("stall_above", Kind::Duration, "1s", "A longer gap between tokens counts as a stall."),
        field("goodput", List(&Text), "A request is good that meets all of these, e.g. `ttft < 400ms`, `tpot < 40ms`."),
        with_default("method", Text, "GET", METHODS),
        field("get", Text, "The path of a GET request."),
        field("post", Text, "The path of a POST request."),
        field("put", Text, "The path of a PUT request."),
        field("patch", Text, "The path of a PATCH request."),
        field("delete", Text, "The path of a DELETE request."),
        field("head", Text, "The path of a HEAD request."),
        field("options", Text, "The path of an OPTIONS request."),
        field("url", Text, "The path and query, beginning with `/`."),
        field("path", Text, "The same as `url`."),
        field("headers", TEXTS, "Header names and values, for every step."),
        field("query", TEXTS, "Appended to the path, percent-encoded."),
        field("body", Text, BODY_DOC),
        field("payload", Text, "The same as `body`."),
        field("body_file", Text, "A file whose bytes are the body, sent as they are."),
        field("json", Json, "A body written as YAML and sent as JSON."),
        field("form", TEXTS, "A body of form fields, percent-encoded."),
        with_default("timeout", Kind::Duration, "30s", "From the attempt's start to the last byte, for every step."),
        field("checks", List(&Kind::Object(&CHECK)), "What a good response looks like."),
        field("extract", Map(&Kind::Object(&EXTRACT)), "Values taken out of the response, by name."),
    ],
};

pub(super) static STEP: Object = Object {
    name: "step",
    doc: "One request: `get: /path` (or post, put, patch, delete, head, options), or `method` and `url`.",
    shorthand: None,
    fields: &[
        with_default("name", Text, "method and path", "Names the request in reports."),
        field("tags", TEXTS, "Words of your own, carried into results."),
        field("target", Text, "A target for this step alone."),
        field("chat", Json, CHAT_DOC),
        field("completions", Json, "The body of a call to `…/completions`, or just its prompt."),
        field("embeddings", Json, "The body of a call to `…/embeddings`, or just its input."),
        field("responses", Json, "The body of a call to `…/responses`, or just its input."),
        with_default("stall_above", Kind::Duration, "1s", "A longer gap between tokens counts as a stall."),
        field("goodput", List(&Text), "A request is good that meets all of these, e.g. `ttft < 400ms`, `tpot < 40ms`."),
        with_default("method", Text, "GET", METHODS),
        field("get", Text, "The path of a GET request."),
        field("post", Text, "The path of a POST request."),
        field("put", Text, "The path of a PUT request."),
        field("patch", Text, "The path of a PATCH request."),
        field("delete", Text, "The path of a DELETE request."),
        field("head", Text, "The path of a HEAD request."),
        field("options", Text, "The path of an OPTIONS request."),
        field("url", Text, "The path and query, beginning with `/`."),
        field("path", Text, "The same as `url`."),
        field("headers", TEXTS, HEADERS_DOC),
        field("query", TEXTS, "Appended to the path, percent-encoded."),
        field("body", Text, BODY_DOC),
        field("payload", Text, "The same as `body`."),
        field("body_file", Text, "A file whose bytes are the body, sent as they are."),
        field("json", Json, "A body written as YAML and sent as JSON."),
        field("form", TEXTS, "A body of form fields, percent-encoded."),
        with_default("timeout", Kind::Duration, "30s", "From the attempt's start to the last byte."),
        field("checks", List(&Kind::Object(&CHECK)), "What a good response looks like."),
        field("extract", Map(&Kind::Object(&EXTRACT)), "Values taken out of the response, by name."),
        field("think_time", THINK_TIME, "Waited after this step."),
    ],
};

static CHECK: Object = Object {
    name: "check",
    doc: "What a good response looks like: exactly one of these.",
    shorthand: None,
    fields: &[
        field(
            "status",
            Either(&[Text, List(&Text)]),
            "Accepted statuses: `200`, `2xx` or a list. Default: 2xx and 3xx.",
        ),
        field("header", Kind::Object(&HEADER_CHECK), "A response header."),
        field("body_contains", Text, "The body holds this text."),
        field("json", Kind::Object(&JSON_CHECK), "A value in a JSON body."),
    ],
};

static HEADER_CHECK: Object = Object {
    name: "header_check",
    doc: "A response header: `name` and one of `equals`, `contains`, `present`.",
    shorthand: Some("name"),
    fields: &[
        field("name", Text, "The header's name."),
        field("equals", Text, "Its whole value."),
        field("contains", Text, "A part of its value."),
        field("present", Bool, "It is there, whatever its value."),
    ],
};

static JSON_CHECK: Object = Object {
    name: "json_check",
    doc: "A value in a JSON body.",
    shorthand: None,
    fields: &[
        field("pointer", Text, "RFC 6901, e.g. `/items/0/id`."),
        field("equals", Json, "The value expected there."),
    ],
};

static EXTRACT: Object = Object {
    name: "extract",
    doc: "Takes a value out of the response: exactly one of these.",
    shorthand: None,
    fields: &[
        field("json", Text, "RFC 6901 pointer into a JSON body, e.g. `/id`."),
        field("regex", Text, "The first capture group in the body, or the whole match when there is none."),
        field("header", Text, "A response header's name."),
    ],
};
