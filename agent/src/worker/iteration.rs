//! One iteration: a scenario's steps, one after the other, each request a sample.

use super::compiled::{CompiledBody, CompiledFrom, CompiledRequest, CompiledStep};
use super::escape::escape_json;
use super::meter::At;
use super::{Shop, check};
use crate::clock::now_ns;
use crate::http::{Attempt, CookieJar, Observer, Request, Response, Span, Watch};
use bytes::Bytes;
use squall_common::dynamic;
use squall_common::feeding::row_of;
use squall_common::generation::Reading;
use squall_common::interval::SkipReason;
use squall_common::mixing::{scenario_of, target_of};
use squall_common::plan::{LoadId, LoadModel, Part, ScenarioId, Scheme, StepId, TargetId, Template, ThinkTime};
use squall_common::random::{Random, mix};
use squall_common::sample::{Outcome, OutcomeClass, Sample};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// What one user keeps between its requests: buffers, variables, cookies.
pub struct User {
    request: Request,
    /// Which fixed request stands in `request`, ready to be sent again, and since which change of secrets.
    standing: Option<(At, u64)>,
    response: Response,
    reading: Reading,
    variables: Vec<Option<Vec<u8>>>,
    /// The row of each feeder in this iteration.
    rows: Vec<Option<usize>>,
    pub cookies: CookieJar,
}

impl User {
    pub fn new(shop: &Shop) -> Self {
        Self {
            request: Request::default(),
            standing: None,
            response: Response::new(),
            reading: Reading::default(),
            variables: vec![None; shop.plan.variables.len()],
            rows: vec![None; shop.plan.feeders.len()],
            cookies: CookieJar::new(),
        }
    }
}

/// Which iteration of which load, and when it should begin.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub load: LoadId,
    /// The iteration's number in the whole fleet.
    pub number: u64,
    pub intended_ns: u64,
}

/// Where a turn's first request goes: known before anything is sent.
pub fn place_of(shop: &Shop, turn: Turn) -> (ScenarioId, TargetId) {
    let scenario = scenario_of(shop.plan.load(turn.load), turn.number);
    (scenario, target_of(shop.plan.scenario(scenario), turn.number))
}

/// The requests of an iteration that were planned and not yet sent. Dropped
/// early (the run was cut off), it counts them as skipped.
struct Ahead<'a> {
    shop: &'a Shop,
    scenario: ScenarioId,
    target: TargetId,
    next: u16,
    end: u16,
    reason: SkipReason,
}

impl Ahead<'_> {
    fn at(&self, step: u16) -> At {
        let step = StepId(step);
        let target = self.shop.compiled.step(self.scenario, step).target.unwrap_or(self.target);
        At { scenario: self.scenario, step, target }
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        for step in self.next..self.end {
            self.shop.meter.skipped(self.at(step), 1, self.reason);
        }
    }
}

/// An attempt. Dropped early, it counts as cut off once it was sent, and as
/// skipped while it still waited for a connection.
struct UnderWay<'a> {
    shop: &'a Shop,
    at: At,
    is_sent: Cell<bool>,
    ended: bool,
}

impl UnderWay<'_> {
    /// Counts the attempt as sent, once.
    fn sent(&self) {
        if !self.is_sent.replace(true) {
            self.shop.meter.sent(self.at);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        match (self.ended, self.is_sent.get()) {
            (true, _) => {}
            (false, true) => self.shop.meter.cut_off(self.at),
            (false, false) => self.shop.meter.skipped(self.at, 1, SkipReason::Ended),
        }
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step was sent and its answer accepted.
    Ok,
    NotOk,
    /// No connection was had, which may have taken no time at all.
    NoConnection,
    /// A `unique` feeder is used up.
    NoRow,
}

impl End {
    fn of(outcome: Outcome) -> Self {
        match outcome.class() {
            OutcomeClass::Ok => Self::Ok,
            OutcomeClass::Connection | OutcomeClass::GeneratorLimited => Self::NoConnection,
            _ => Self::NotOk,
        }
    }
}

/// Counts all requests of many turns as planned and skipped: flow by flow, not one by one.
pub fn skip_all(shop: &Shop, load: LoadId, numbers: Range<u64>, reason: SkipReason) {
    let drives = &shop.plan.load(load).drives;
    let goes_one_way = drives.len() == 1 && shop.plan.scenario(drives[0].0).targets.len() == 1;
    let place = |number| place_of(shop, Turn { load, number, intended_ns: 0 });
    let mut turns: BTreeMap<(ScenarioId, TargetId), u64> = BTreeMap::new();
    if goes_one_way && !numbers.is_empty() {
        turns.insert(place(numbers.start), numbers.end - numbers.start);
    } else {
        numbers.for_each(|number| *turns.entry(place(number)).or_default() += 1);
    }
    for ((scenario, target), count) in turns {
        for step in (0..shop.compiled.steps_of(scenario)).map(StepId) {
            let target = shop.compiled.step(scenario, step).target.unwrap_or(target);
            let at = At { scenario, step, target };
            shop.meter.planned(at, count);
            shop.meter.skipped(at, count, reason);
        }
    }
}

/// Counts all requests of a turn as planned and skipped.
pub fn skip(shop: &Shop, turn: Turn, reason: SkipReason) {
    let (scenario, target) = place_of(shop, turn);
    let ahead = Ahead { shop, scenario, target, next: 0, end: shop.compiled.steps_of(scenario), reason };
    plan_all(&ahead);
}

fn plan_all(ahead: &Ahead<'_>) {
    for step in ahead.next..ahead.end {
        ahead.shop.meter.planned(ahead.at(step), 1);
    }
}

/// Runs one iteration to its end. A request that is not ok ends it: later steps
/// count as skipped.
pub async fn run(shop: &Shop, user: &mut User, turn: Turn) -> End {
    let (scenario, target) = place_of(shop, turn);
    let end = shop.compiled.steps_of(scenario);
    let mut ahead = Ahead { shop, scenario, target, next: 0, end, reason: SkipReason::Ended };
    plan_all(&ahead);
    let first = ahead.at(0);
    if !draw_rows(shop, user, turn, scenario) {
        ahead.reason = SkipReason::FeederExhausted;
        return End::NoRow;
    }
    user.variables.iter_mut().for_each(|variable| *variable = None);
    let mut random = Random::at(shop.seed, &[u64::from(turn.load.0), turn.number]);
    shop.meter.iteration_started(first);

    let mut intended_ns = turn.intended_ns;
    while ahead.next < end {
        if ahead.next > 0 && shop.timers.is_cancelled() {
            // Load has ended (stop or lease): the rest of the iteration counts as skipped.
            return End::NotOk;
        }
        let at = ahead.at(ahead.next);
        let step = shop.compiled.step(scenario, at.step);
        if !admitted(shop, turn.load).await {
            return End::NotOk;
        }
        ahead.next += 1;
        let outcome = send(shop, user, at, step, intended_ns, turn.number, &mut random).await;
        if outcome != Outcome::Ok {
            ahead.reason = SkipReason::EarlierStep;
            return End::of(outcome);
        }
        intended_ns = now_ns();
        if let Some(think) = &step.think {
            intended_ns += think_ns(think, &mut random);
            if shop.timers.sleep_until(intended_ns).await.is_err() {
                break;
            }
        }
    }
    if ahead.next == end {
        shop.meter.iteration_completed(first);
    }
    End::Ok
}

/// Waits for the request's turn below the agent's ceilings; `false` when load ends before it.
async fn admitted(shop: &Shop, load: LoadId) -> bool {
    if shop.gate.is_open() {
        return true;
    }
    let now_ns = now_ns();
    let load = shop.plan.load(load);
    let is_closed = !matches!(load.model, LoadModel::Open { .. });
    let Some(turn_ns) = shop.gate.admit(is_closed, now_ns) else { return true };
    // Users stop at the end of their load; arrivals were meant before it and may still drain.
    let end_ns = load.duration().filter(|_| is_closed).map(|time| shop.meter.start_ns() + time.as_nanos() as u64);
    let is_in_time = end_ns.is_none_or(|end_ns| turn_ns < end_ns);
    let until_ns = if is_in_time { turn_ns } else { end_ns.unwrap_or(turn_ns).max(now_ns) };
    shop.timers.sleep_until(until_ns).await.is_ok() && is_in_time
}

fn think_ns(think: &ThinkTime, random: &mut Random) -> u64 {
    match think {
        ThinkTime::Fixed(time) => time.as_nanos() as u64,
        ThinkTime::Between(least, most) => {
            let width = most.saturating_sub(*least).as_nanos() as u64;
            least.as_nanos() as u64 + random.below(width + 1)
        }
    }
}

fn draw_rows(shop: &Shop, user: &mut User, turn: Turn, scenario: ScenarioId) -> bool {
    let lanes = &shop.compiled.feeder_lanes[turn.load.0 as usize];
    for (id, feeder) in shop.plan.feeders.iter().enumerate() {
        let lane = lanes[id];
        if !shop.compiled.draws(scenario, id) {
            continue;
        }
        let feeder_seed = mix(shop.seed, &[id as u64, 0xfeed]);
        user.rows[id] = row_of(feeder, feeder_seed, turn.number * lane.count + lane.index);
        if user.rows[id].is_none() {
            return false;
        }
    }
    true
}

async fn send(
    shop: &Shop,
    user: &mut User,
    at: At,
    step: &CompiledStep,
    intended_ns: u64,
    number: u64,
    random: &mut Random,
) -> Outcome {
    let compiled = step.request(at.target);
    let place = (at, shop.secrets_now.generation());
    if !(compiled.is_fixed && user.standing == Some(place)) {
        render(shop, user, at, compiled, number, random);
        user.standing = compiled.is_fixed.then_some(place);
    }
    let mut under_way = UnderWay { shop, at, is_sent: Cell::new(false), ended: false };
    let client = &shop.clients[at.target.0 as usize];
    let attempt = {
        let on_send = || under_way.sent();
        let User { request, response, reading, .. } = user;
        let call = step.model_call.as_ref();
        if let Some(call) = call {
            reading.begin(call);
        }
        let mut read = |at_ns: u64, bytes: &[u8]| reading.feed(at_ns, bytes);
        let watch: Option<Watch<'_>> = if call.is_some() { Some(&mut read) } else { None };
        let observer = Observer { on_send: Some(&on_send), watch };
        client.exchange_observed(request, step.want, step.timeout, response, observer).await
    };
    if step.model_call.is_some() {
        user.reading.end(attempt.done_ns, user.response.body());
    }
    // An attempt that never got a connection was an attempt all the same.
    under_way.sent();
    under_way.ended = true;

    if shop.plan.scenario(at.scenario).cookies {
        keep_cookies(shop, user, at, compiled);
    }
    shop.gate.settle(attempt.bytes_sent + attempt.bytes_received);
    let heard = |outcome| if step.model_call.is_some() { user.reading.outcome(outcome) } else { outcome };
    let outcome = match attempt.outcome {
        Outcome::Ok => check::judge(step, &user.response)
            .and_then(|()| as_result(heard(Outcome::Ok)))
            .and_then(|()| extract(step, &user.response, &mut user.variables)),
        failure => Err(failure),
    };
    let outcome = outcome.err().map_or(Outcome::Ok, heard);
    if let (Some(401), Some(token)) = (attempt.status, compiled.token) {
        shop.tokens.refused(token, place.1);
    }
    let sample = sample(at, intended_ns, &attempt, outcome);
    shop.meter.record(&sample);
    if let Some(call) = &step.model_call {
        shop.meter.record_generation(&sample, &user.reading.generation(call, &sample));
    }
    if outcome != Outcome::Ok {
        let said = step.model_call.as_ref().and_then(|_| user.reading.detail());
        shop.note_error(at, outcome, &attempt, said);
        if let (Some(keeper), Some(keeping)) = (&shop.keeper, &shop.keeping) {
            keeper.failed(keeping, &shop.secrets, shop.meter.start_ns(), &sample, &user.request, &user.response);
        }
    }
    outcome
}

fn as_result(outcome: Outcome) -> Result<(), Outcome> {
    if outcome == Outcome::Ok { Ok(()) } else { Err(outcome) }
}

fn sample(at: At, intended_ns: u64, attempt: &Attempt, outcome: Outcome) -> Sample {
    Sample {
        scenario: at.scenario,
        step: at.step,
        target: at.target,
        intended_ns,
        sent_ns: attempt.sent_ns,
        done_ns: attempt.done_ns,
        outcome,
        status: attempt.status,
        phases: attempt.phases,
        bytes_sent: attempt.bytes_sent,
        bytes_received: attempt.bytes_received,
        body_bytes: attempt.body_bytes,
        decoded_body_bytes: attempt.decoded_body_bytes,
    }
}

fn render(shop: &Shop, user: &mut User, at: At, compiled: &CompiledRequest, number: u64, random: &mut Random) {
    let User { request, variables, rows, cookies, .. } = user;
    let mut renderer = Renderer { shop, variables, rows, random, now_unix_ms: None };
    request.clear(compiled.method.clone());
    let path = renderer.one(&compiled.path, request, Escape::Url);
    request.set_path(path);
    for (name, value) in &compiled.headers {
        let value = renderer.one(value, request, Escape::None);
        request.push_header(name.clone(), value);
    }
    if shop.plan.scenario(at.scenario).cookies {
        let target = shop.plan.target(at.target);
        let secure = target.scheme == Scheme::Https;
        let start = request.scratch().len();
        let path = cookie_path(compiled);
        if cookies.header_for(&target.host, &path, secure, now_ns(), request.scratch()) {
            let end = request.scratch().len();
            request.push_header(Bytes::from_static(b"cookie"), Span::Scratch(start..end));
        }
    }
    match &compiled.body {
        CompiledBody::None => {}
        CompiledBody::Bytes(bytes) => request.push_body(Span::Shared(bytes.clone())),
        CompiledBody::Template(template) => renderer.pieces(template, request, Escape::None),
        CompiledBody::Json(template) => renderer.pieces(template, request, Escape::Json),
        CompiledBody::Prompted(body) => {
            let prompt = shop.prompts[body.source].prompt(number);
            let asked = if body.wants_messages { prompt.messages_json().clone() } else { prompt.input_json() };
            request.push_body(Span::Shared(body.opening.clone()));
            request.push_body(Span::Shared(asked));
            if let (Some(field), Some(most)) = (&body.limit, prompt.max_tokens()) {
                request.push_body(Span::Shared(field.clone()));
                request.push_body(Span::Shared(most.to_string().into()));
            }
            renderer.pieces(&body.rest, request, Escape::Json);
        }
    }
}

fn keep_cookies(shop: &Shop, user: &mut User, at: At, compiled: &CompiledRequest) {
    let User { response, cookies, .. } = user;
    let set = response.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"set-cookie")).map(|(_, value)| value);
    cookies.store(set, &shop.plan.target(at.target).host, &cookie_path(compiled), now_ns());
}

/// The part of the path that is the same for every request, which is what cookie paths can mean.
fn cookie_path(compiled: &CompiledRequest) -> Cow<'_, str> {
    match compiled.path.parts.first() {
        Some(Part::Literal(text)) => String::from_utf8_lossy(text),
        _ => Cow::Borrowed("/"),
    }
}

fn extract(step: &CompiledStep, response: &Response, variables: &mut [Option<Vec<u8>>]) -> Result<(), Outcome> {
    for extract in &step.extracts {
        let value = match &extract.from {
            CompiledFrom::Header(name) => response.header(name).map(<[u8]>::to_vec),
            CompiledFrom::Json(pointer) => check::json_text_at(response.body(), pointer),
            CompiledFrom::Regex(regex) => {
                let body = String::from_utf8_lossy(response.body());
                regex.captures(&body).and_then(|found| found.get(1).or(found.get(0)).map(|text| text.as_str().into()))
            }
        };
        variables[extract.into.0 as usize] = Some(value.ok_or(Outcome::ExtractFailed)?);
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// Bytes that may not stand in a URL are percent-encoded; reserved ones stay as they are.
    Url,
    /// The inside of a JSON string.
    Json,
}

struct Renderer<'a> {
    shop: &'a Shop,
    variables: &'a [Option<Vec<u8>>],
    rows: &'a [Option<usize>],
    random: &'a mut Random,
    now_unix_ms: Option<u64>,
}

impl Renderer<'_> {
    /// The whole template as one span.
    fn one(&mut self, template: &Template, request: &mut Request, escape: Escape) -> Span {
        if let Some(text) = template.as_literal() {
            return Span::Shared(text);
        }
        let start = request.scratch().len();
        for part in &template.parts {
            match part {
                Part::Literal(text) => request.scratch().extend_from_slice(text),
                dynamic => self.append(dynamic, request.scratch(), escape),
            }
        }
        Span::Scratch(start..request.scratch().len())
    }

    /// Piece by piece into the body: what is fixed is not copied.
    fn pieces(&mut self, template: &Template, request: &mut Request, escape: Escape) {
        for part in &template.parts {
            let piece = match part {
                Part::Literal(text) => Span::Shared(text.clone()),
                dynamic => {
                    let start = request.scratch().len();
                    self.append(dynamic, request.scratch(), escape);
                    Span::Scratch(start..request.scratch().len())
                }
            };
            request.push_body(piece);
        }
    }

    fn append(&mut self, part: &Part, out: &mut Vec<u8>, escape: Escape) {
        let start = out.len();
        match part {
            Part::Dynamic(dynamic) => {
                let now_unix_ms = *self.now_unix_ms.get_or_insert_with(unix_ms);
                dynamic::render(dynamic, self.random, now_unix_ms, out);
            }
            Part::Variable(id) => {
                if let Some(value) = &self.variables[id.0 as usize] {
                    out.extend_from_slice(value);
                }
            }
            Part::Column(feeder, column) => {
                if let Some(row) = self.rows[feeder.0 as usize] {
                    let feeder = &self.shop.plan.feeders[feeder.0 as usize];
                    out.extend_from_slice(feeder.rows[row][*column as usize].as_bytes());
                }
            }
            Part::Secret(id) => self.shop.secrets_now.append(id.0, out),
            // Put in place by the callers.
            Part::Literal(_) => {}
        }
        if escape == Escape::Json && !matches!(part, Part::Dynamic(_)) {
            escape_json(out, start);
        }
        if escape == Escape::Url && out[start..].iter().any(|&byte| !may_stand_in_url(byte)) {
            let raw = out.split_off(start);
            for byte in raw {
                if may_stand_in_url(byte) {
                    out.push(byte);
                } else {
                    let hex = b"0123456789ABCDEF";
                    out.extend_from_slice(&[b'%', hex[(byte >> 4) as usize], hex[(byte & 15) as usize]]);
                }
            }
        }
    }
}

/// RFC 3986: unreserved, reserved and `%`.
fn may_stand_in_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
