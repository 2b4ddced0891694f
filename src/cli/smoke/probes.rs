//! What answers without an account: liveness, readiness, health, caching headers, metrics.

use std::time::Duration;

use http::{StatusCode, header};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Check, http::REQUEST_TIMEOUT};

const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// For one look at liveness or readiness.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// A reason that stays the same is printed again after so long.
const REMINDER_INTERVAL: Duration = Duration::from_secs(10);
/// Characters of the reason why there are no metrics.
const MAX_REASON: usize = 60;

impl Check {
    /// Until `path` answers 200 with this status in its body, or time is up for all such waiting.
    pub(super) async fn wait_for(&mut self, name: &'static str, path: &str, wanted: &str) -> bool {
        let step = self.report.begin(name);
        let mut shown: Option<(String, Instant)> = None;
        let reply = loop {
            let reply = self.client.get(&self.at(path), PROBE_TIMEOUT).await;
            if reply.is(StatusCode::OK) && reply.json()["status"] == wanted {
                step.ok("");
                return true;
            }
            if Instant::now() + POLL_INTERVAL > self.deadline {
                break reply;
            }
            let summary = reply.summary();
            let is_shown = |(text, at): &(String, Instant)| *text == summary && at.elapsed() < REMINDER_INTERVAL;
            if !shown.as_ref().is_some_and(is_shown) {
                step.waiting(&summary);
                shown = Some((summary, Instant::now()));
            }
            sleep(POLL_INTERVAL).await;
        };
        let seconds = self.timeout.as_secs();
        step.fail(&format!(
            "expected 200 and \"{wanted}\" within {seconds} s, {}",
            reply.summary()
        ));
        false
    }

    pub(super) async fn health(&mut self) {
        let step = self.report.begin("health");
        let reply = self.get("/api/health").await;
        let body = reply.json();
        match (reply.is(StatusCode::OK), body["status"].as_str()) {
            (true, Some("pass")) => step.ok(""),
            (true, Some("warn")) => {
                step.ok("");
                self.report
                    .note("health", &format!("warn: {}", checks_with(&body, "warn")));
            }
            (_, Some("fail")) => {
                let (summary, failing) = (reply.summary(), checks_with(&body, "fail"));
                let status = summary.split(' ').next().unwrap_or_default();
                step.fail(&format!("expected pass or warn, {status} with fail came: {failing}"));
            }
            _ => step.fail(&format!("expected 200 with pass or warn, {}", reply.summary())),
        }
    }

    /// What browsers and CDNs are asked to keep for everybody. The list of models is no example: it is for people who are signed in, where
    /// registration is closed.
    pub(super) async fn caching(&mut self) {
        let step = self.report.begin("caching");
        let reply = self.get("/api/openapi.json").await;
        let control = reply.header(header::CACHE_CONTROL.as_str());
        if !reply.is(StatusCode::OK) {
            step.fail(&format!("expected 200 of /api/openapi.json, {}", reply.summary()));
        } else if control.contains("public") && control.contains("max-age=") {
            step.ok(control);
        } else {
            step.fail(&format!(
                "expected Cache-Control with public and max-age of /api/openapi.json, '{control}' came"
            ));
        }
    }

    pub(super) async fn metrics(&mut self) {
        let address = format!("{}/metrics", self.ops_url.as_ref().unwrap_or(&self.url));
        let step = self.report.begin("metrics");
        let reply = self.client.get(&address, REQUEST_TIMEOUT).await;
        if !reply.is(StatusCode::OK) {
            if self.ops_url.is_some() {
                return step.fail(&format!("expected 200 at {address}, {}", reply.summary()));
            }
            let reason: String = reply.summary().chars().take(MAX_REASON).collect();
            let reason = format!("{address} does not show them ({reason}), and no OPS_URL was given");
            return self.report.skip("metrics", &reason);
        }
        let text = String::from_utf8_lossy(reply.body());
        let absent: Vec<_> = ["maple_build_info", "maple_completions_total"]
            .into_iter()
            .filter(|name| samples(&text, name).next().is_none())
            .collect();
        if absent.is_empty() {
            step.ok(samples(&text, "maple_build_info").next().unwrap_or_default());
        } else {
            let absent = absent.join(" ");
            step.fail(&format!(
                "expected maple_build_info and maple_completions_total at {address}, absent: {absent}"
            ));
        }
        if samples(&text, "maple_forwarded_for_ignored_total").any(|line| !line.ends_with(" 0")) {
            self.report.note(
                "proxies",
                "X-Forwarded-For came from an address that is not in server.trusted_proxies: if that is a proxy of yours, all its clients \
                 count as one",
            );
        }
    }
}

/// The names of the checks that have this status.
fn checks_with(health: &Value, status: &str) -> String {
    let checks = health["checks"].as_object().into_iter().flatten();
    let named: Vec<_> = checks
        .filter(|(_, check)| check["status"] == status)
        .map(|(name, _)| name.as_str())
        .collect();
    named.join(" ")
}

/// The lines with values of this metric.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(move |line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    })
}

#[cfg(test)]
mod tests {
    use super::{checks_with, samples};
    use serde_json::json;

    #[test]
    fn checks_are_named_by_their_status() {
        let health = json!({"status": "fail", "checks": {"a": {"status": "fail"}, "b": {"status": "pass"}, "c": {"status": "fail"}}});
        assert_eq!(checks_with(&health, "fail"), "a c");
        assert_eq!(checks_with(&json!("<html>"), "fail"), "");
    }

    #[test]
    fn a_metric_is_neither_its_comment_nor_one_with_a_longer_name() {
        let text = "# TYPE maple_a counter\nmaple_a_total 1\nmaple_a{b=\"c\"} 2\nmaple_a 3\n";
        assert_eq!(
            samples(text, "maple_a").collect::<Vec<_>>(),
            ["maple_a{b=\"c\"} 2", "maple_a 3"]
        );
    }
}
