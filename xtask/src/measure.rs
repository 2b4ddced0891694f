//! `make measure`: error rate, response times and completions of the last 15 minutes, from PROMETHEUS_URL (with PROMETHEUS_TOKEN, if it wants
//! one), against the bounds that a release is judged by.
//!
//! Of the version that serves: what the one before it did wrong must not take a release back that mends it. No data is a failure. Writes
//! evidence.

use std::process::ExitCode;

use serde_json::Value;

use crate::{checkout::Checkout, curl, environment::Environment, error::TaskError, evidence, program::variable, say};

const REQUESTS: &str = "http_server_request_duration_seconds";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Below(&'static str),
    Above(&'static str),
}

struct Measurement {
    item: &'static str,
    what: &'static str,
    query: String,
    bound: Bound,
}

pub(crate) fn run(checkout: &Checkout, environment: &str) -> Result<ExitCode, TaskError> {
    let environment = Environment::parse(environment)?;
    let url = variable("PROMETHEUS_URL").unwrap_or_default();
    if !is_address(&url) {
        return TaskError::refused(
            "PROMETHEUS_URL must be where Prometheus is, without credentials, such as http://localhost:9090",
        );
    }
    let token = variable("PROMETHEUS_TOKEN").unwrap_or_default();
    if !token
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
    {
        return TaskError::refused("PROMETHEUS_TOKEN holds characters that no bearer token has");
    }
    let url = format!("{}/api/v1/query", url.trim_end_matches('/'));
    let mut is_within = true;
    for Measurement {
        item,
        what,
        query,
        bound,
    } in measurements(environment)
    {
        let answer = ask(&url, &token, &query)?;
        let value = answer.as_deref().and_then(value_in);
        let holds = value.as_deref().is_some_and(|value| bound.holds(value));
        let (outcome, value) = (
            if holds { "passed" } else { "failed" },
            value.unwrap_or_else(|| "no data".to_owned()),
        );
        let rule = bound.rule();
        say(&format!("{outcome:<7} {what}: {value} (must be {rule})"));
        evidence::write(
            checkout,
            item,
            outcome,
            "make measure",
            &format!("{what}: {value}, must be {rule}"),
        )?;
        is_within &= holds;
    }
    if is_within {
        return Ok(ExitCode::SUCCESS);
    }
    TaskError::refused(format!(
        "{environment} is outside the bounds of a release, or could not be measured"
    ))
}

fn measurements(environment: Environment) -> [Measurement; 3] {
    let routes = format!(r#"namespace="{environment}",http_route!~"/api/(health|ready)|/metrics|other""#);
    let completions = format!(r#"maple_completions_total{{namespace="{environment}""#);
    // The one with the most traffic of late. Where there is no Rollout, pods have no such label and are one.
    let serves = format!(
        "and on (rollouts_pod_template_hash) topk(1, sum by (rollouts_pod_template_hash) (rate({REQUESTS}_count{{{routes}}}[5m])))"
    );
    [
        Measurement {
            item: "error-rate",
            what: "share of errors",
            query: format!(
                r#"(sum(rate({REQUESTS}_count{{{routes},http_response_status_code=~"5.."}}[15m]) {serves}) or vector(0)) / sum(rate({REQUESTS}_count{{{routes}}}[15m]) {serves})"#
            ),
            bound: Bound::Below("0.01"),
        },
        Measurement {
            item: "latency",
            what: "seconds, 95th percentile",
            query: format!("histogram_quantile(0.95, sum by (le) (rate({REQUESTS}_bucket{{{routes}}}[15m]) {serves}))"),
            bound: Bound::Below("2.5"),
        },
        Measurement {
            item: "business",
            what: "share of completions that came whole",
            query: format!(
                r#"(sum(rate({completions},outcome="completed"}}[15m]) {serves}) or vector(0)) / (sum(rate({completions},outcome!~"cancelled|refused"}}[15m]) {serves}) > 0)"#
            ),
            bound: Bound::Above("0.98"),
        },
    ]
}

/// The answer of Prometheus, or nothing, with the reason on the terminal.
fn ask(url: &str, token: &str, query: &str) -> Result<Option<String>, TaskError> {
    let query = format!("query={query}");
    let arguments = ["--fail", "--max-time", "20", "--get", "--data-urlencode", &query, url];
    let configuration = if token.is_empty() {
        String::new()
    } else {
        format!("header = \"Authorization: Bearer {token}\"\n")
    };
    curl::ask(&arguments, "PROMETHEUS_TOKEN", &configuration)
}

/// The one sample of an instant vector, as Prometheus writes it: <https://prometheus.io/docs/prometheus/latest/querying/api/>.
fn value_in(answer: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

impl Bound {
    /// NaN and infinities are no measurements.
    fn holds(self, value: &str) -> bool {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        let (limit, is_below) = match self {
            Self::Below(limit) => (limit, true),
            Self::Above(limit) => (limit, false),
        };
        match (number(value), number(limit)) {
            (Some(value), Some(limit)) if is_below => value < limit,
            (Some(value), Some(limit)) => value > limit,
            _ => false,
        }
    }

    fn rule(self) -> String {
        match self {
            Self::Below(limit) => format!("< {limit}"),
            Self::Above(limit) => format!("> {limit}"),
        }
    }
}

/// Credentials have no place in an address: that is an argument of curl, which others can read.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(|c: char| c.is_whitespace() || "@?#".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::{Bound, is_address, measurements, value_in};
    use crate::environment::Environment;

    #[test]
    fn a_value_is_held_against_its_bound() {
        for (value, below, above) in [
            ("0.009", true, false),
            ("0.01", false, false),
            ("1.2e-05", true, false),
            ("0.02", false, true),
            ("-1", true, false),
            ("NaN", false, false),
            ("+Inf", false, false),
            ("-Inf", false, false),
            ("", false, false),
        ] {
            assert_eq!(Bound::Below("0.01").holds(value), below, "{value}");
            assert_eq!(Bound::Above("0.01").holds(value), above, "{value}");
        }
    }

    #[test]
    fn the_value_of_an_answer() {
        let answer = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1782864000.1,"0.4"]}]}}"#;
        assert_eq!(value_in(answer).as_deref(), Some("0.4"));
        for text in [
            r#"{"status":"success","data":{"result":[]}}"#,
            "<html>",
            "",
            r#"{"data":{"result":[{"value":[1]}]}}"#,
        ] {
            assert_eq!(value_in(text), None, "{text}");
        }
    }

    #[test]
    fn queries_are_of_the_environment_and_balanced() {
        for measurement in measurements(Environment::Staging) {
            let query = measurement.query;
            assert!(query.contains(r#"namespace="staging""#), "{query}");
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                assert_eq!(query.matches(open).count(), query.matches(close).count(), "{query}");
            }
        }
    }

    #[test]
    fn addresses_have_no_credentials() {
        assert!(is_address("http://localhost:9090/") && is_address("https://a.example/prometheus"));
        for text in [
            "",
            "http://",
            "http:///a",
            "http://ada:word@a",
            "http://a?b",
            "http://a b",
            "ftp://a",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}
