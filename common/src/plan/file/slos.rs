//! SLO lines: `p99(response_time) < 250ms for checkout in region azure/eastus`.

use super::build::Builder;
use super::check::quoted;
use super::node::Node;
use super::problem::Problem;
use super::suggest::nearest;
use crate::plan::{Bound, Comparison, Metric, Quantity, Region, ScenarioId, Slo, SloScope, Statistic};
use crate::units;

/// What is wrong with a line: message, advice, the words meant.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) advice: String,
    pub(super) focus: String,
}

pub(super) type Parsed<T> = Result<T, Wrong>;

fn wrong<T>(message: impl Into<String>, advice: impl Into<String>, focus: &str) -> Parsed<T> {
    Err(Wrong { message: message.into(), advice: advice.into(), focus: focus.to_owned() })
}

const EXAMPLE: &str = "write e.g. `p99(response_time) < 250ms` or `error_rate < 1%`";

impl Builder<'_> {
    pub(super) fn build_slos(&mut self, root: &Node) -> Vec<Slo> {
        let items = root.get("slo").map(Node::items).unwrap_or_default();
        let mut slos = Vec::new();
        for item in items {
            let Some(text) = item.scalar() else { continue };
            match self.slo(text, item) {
                Ok(slo) => slos.push(slo),
                Err(Wrong { message, advice, focus }) => {
                    self.problems.push(Problem::new(&item.place, message).advice(advice).focus(&focus));
                }
            }
        }
        slos
    }

    fn slo(&mut self, text: &str, at: &Node) -> Parsed<Slo> {
        let (left, comparison, operator, rest) = compared(text, EXAMPLE)?;
        let quantity = quantity(left.trim())?;
        let mut words = rest.split_whitespace();
        let Some(value) = words.next() else {
            return wrong("the comparison has no limit", EXAMPLE, operator);
        };
        let (value, after_comma) = match value.strip_suffix(',') {
            Some(value) => (value, true),
            None => (value, false),
        };
        let limit = limit(&quantity, value)?;
        let bounds =
            self.scenarios.iter().flat_map(|scenario| &scenario.steps).filter_map(|step| step.model_call.as_ref());
        if quantity == Quantity::Goodput && bounds.clone().all(|call| call.goodput.is_empty()) {
            return wrong(
                "nothing says what a good request is",
                "add `goodput: [ttft < 400ms]` to a scenario that calls a model",
                "goodput",
            );
        }
        if after_comma {
            return wrong("nothing can follow a comma here", SCOPES, ",");
        }
        let scope = self.scope(words.collect(), at)?;
        Ok(Slo { text: text.to_owned(), quantity, comparison, limit, scope })
    }

    fn scope(&mut self, words: Vec<&str>, at: &Node) -> Parsed<SloScope> {
        let mut scope = SloScope::default();
        let mut rest = words.as_slice();
        while !rest.is_empty() {
            rest = match rest {
                ["for", name, rest @ ..] => {
                    scope.scenario = Some(self.scenario_named(name)?);
                    rest
                }
                ["in", "region", name, rest @ ..] => {
                    scope.region = Some(self.slo_region(name, at)?);
                    rest
                }
                ["in", "steady", "state", rest @ ..] | ["in", "steady_state", rest @ ..] => {
                    scope.steady_state = true;
                    rest
                }
                [word, ..] => return wrong(format!("`{}` is not understood here", rest.join(" ")), SCOPES, word),
                [] => &[],
            };
        }
        Ok(scope)
    }

    fn scenario_named(&self, name: &str) -> Parsed<ScenarioId> {
        let names = self.scenarios.iter().map(|scenario| scenario.name.as_str());
        if let Some(id) = names.clone().position(|known| known == name) {
            return Ok(ScenarioId(id as u16));
        }
        let advice = match nearest(name, names.clone()) {
            Some(near) => format!("write `{near}`"),
            None => format!("the scenarios are {}", quoted(names)),
        };
        wrong(format!("there is no scenario `{name}`"), advice, name)
    }

    /// Agents may live where the plan does not say, so an unknown region is a
    /// problem only when it looks like a slip.
    fn slo_region(&mut self, name: &str, at: &Node) -> Parsed<Region> {
        let region = match Region::new(name) {
            Ok(region) => region,
            Err(_) => return wrong(format!("`{name}` is not a region"), "write e.g. `azure/eastus`", name),
        };
        let of_loads = self.loads.iter().flat_map(|load| load.from.iter().map(|(region, _)| region));
        let known: Vec<&Region> =
            self.targets.iter().filter_map(|target| target.region.as_ref()).chain(of_loads).collect();
        if !known.is_empty() && !known.contains(&&region) {
            if let Some(near) = nearest(name, known.iter().map(|region| region.as_str())) {
                return wrong(format!("there is no region `{name}`"), format!("write `{near}`"), name);
            }
            let regions = quoted(known.iter().map(|region| region.as_str()));
            let message = format!("no target and no load is in region `{name}`");
            self.warning(&at.place, &message, &format!("the plan's regions are {regions}"));
        }
        Ok(region)
    }
}

/// Left side, comparison (and as written), and what follows it.
fn compared<'t>(text: &'t str, example: &str) -> Parsed<(&'t str, Comparison, &'t str, &'t str)> {
    let Some(operator_at) = text.find(['<', '>', '=']) else {
        return wrong(format!("`{text}` compares nothing"), example, "");
    };
    let (left, rest) = text.split_at(operator_at);
    let operator_end = rest.find(|c| !matches!(c, '<' | '>' | '=')).unwrap_or(rest.len());
    let (operator, rest) = rest.split_at(operator_end);
    let comparison = match operator {
        "<" => Comparison::Below,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Above,
        ">=" => Comparison::AtLeast,
        _ => return wrong(format!("`{operator}` is not a comparison"), "write `<`, `<=`, `>` or `>=`", operator),
    };
    Ok((left, comparison, operator, rest))
}

/// A line of `goodput`: a bound that one request meets or not, e.g. `ttft < 400ms`.
pub(super) fn parse_bound(text: &str) -> Parsed<Bound> {
    const EXAMPLE: &str = "write e.g. `ttft < 400ms`";
    let (left, comparison, _, rest) = compared(text, EXAMPLE)?;
    let (name, value) = (left.trim(), rest.trim());
    let known = || [Metric::ResponseTime, Metric::ServiceTime].into_iter().chain(Metric::OF_MODELS);
    let Some(metric) = known().find(|metric| metric.name() == name) else {
        let message = format!("`{name}` is not measured of one request");
        let names: Vec<&str> = known().map(Metric::name).collect();
        let advice = match nearest(name, names.iter().copied()) {
            Some(near) => format!("write `{near}`"),
            None => format!("the metrics are {}", quoted(names.iter().copied())),
        };
        return wrong(message, advice, name);
    };
    if value.is_empty() {
        return wrong("the comparison has no limit", EXAMPLE, "");
    }
    Ok(Bound { text: text.trim().to_owned(), metric, comparison, limit_us: latency_limit(value)? })
}

const SCOPES: &str = "after the limit can stand `for SCENARIO`, `in region R` and `in steady state`";

fn quantity(text: &str) -> Parsed<Quantity> {
    match text {
        "error_rate" => return Ok(Quantity::ErrorRate),
        "throughput" => return Ok(Quantity::Throughput),
        "goodput" => return Ok(Quantity::Goodput),
        _ => {}
    }
    let Some((statistic, metric)) =
        text.split_once('(').and_then(|(s, rest)| Some((s.trim(), rest.strip_suffix(')')?.trim())))
    else {
        if Metric::from_name(text).is_some() {
            return wrong(format!("`{text}` is many values: say which"), format!("write `p99({text})`"), text);
        }
        return match nearest(text, ["error_rate", "throughput", "goodput"]) {
            Some(near) => wrong(format!("`{text}` is not measured"), format!("write `{near}`"), text),
            None => wrong(format!("`{text}` is not measured"), EXAMPLE, text),
        };
    };
    let Some(metric) = Metric::from_name(metric) else {
        let names = || Metric::ALL.iter().map(|metric| metric.name());
        let advice = match nearest(metric, names()) {
            Some(near) => format!("write `{near}`"),
            None => format!("the metrics are {}", quoted(names())),
        };
        return wrong(format!("`{metric}` is not measured"), advice, metric);
    };
    let percentile = |text: &str| text.strip_prefix('p')?.parse::<f64>().ok();
    let statistic = match statistic {
        "mean" => Statistic::Mean,
        "max" => Statistic::Max,
        text => match percentile(text) {
            Some(percentile) if percentile > 0.0 && percentile < 100.0 => Statistic::Percentile(percentile),
            Some(_) => {
                return wrong(
                    format!("`{text}` is not between p0 and p100"),
                    "write e.g. `p99`, `p99.9` or `max`",
                    text,
                );
            }
            None => {
                let advice = match text {
                    "avg" | "average" => "write `mean`".to_owned(),
                    "median" => "write `p50`".to_owned(),
                    _ => "write `mean`, `max` or a percentile such as `p99`".to_owned(),
                };
                return wrong(format!("`{text}` is not understood"), advice, text);
            }
        },
    };
    Ok(Quantity::Latency { statistic, metric })
}

/// µs, a ratio or requests/s, by the quantity.
fn limit(quantity: &Quantity, text: &str) -> Parsed<f64> {
    let parsed = match quantity {
        Quantity::Latency { .. } => return latency_limit(text),
        Quantity::ErrorRate | Quantity::Goodput => units::parse_percent(text),
        Quantity::Throughput => units::parse_rate(text),
    };
    parsed.or_else(|error| wrong(error.message, error.advice, text))
}

/// µs.
fn latency_limit(text: &str) -> Parsed<f64> {
    units::parse_duration(text)
        .map(|duration| duration.as_micros() as f64)
        // Of a latency, milliseconds are meant more often than seconds.
        .or_else(|error| match error.message.ends_with("has no unit") {
            true => wrong(error.message, format!("write `{text}ms`"), text),
            false => wrong(error.message, error.advice, text),
        })
}
