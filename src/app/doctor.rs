//! `mapleai doctor`: examines a deployment from inside, with the configuration that the service would run with.

mod machine;
mod remote;
mod settings;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;

use configuration::Config;

/// No single check takes longer; they run at once.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// Works, but an operator should look at it.
    Warn,
    /// The service would not work, or not for long.
    Fail,
}

/// The result of one check, and what to do about it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: String,
    pub status: Verdict,
    pub finding: String,
    /// Empty if there is nothing to do.
    pub advice: String,
    pub latency_ms: u64,
}

/// A check's verdict, finding and advice.
type Finding = (Verdict, String, String);

fn pass(finding: impl Into<String>) -> Finding {
    (Verdict::Ok, finding.into(), String::new())
}

fn warn(finding: impl Into<String>, advice: impl Into<String>) -> Finding {
    (Verdict::Warn, finding.into(), advice.into())
}

fn fail(finding: impl Into<String>, advice: impl Into<String>) -> Finding {
    (Verdict::Fail, finding.into(), advice.into())
}

/// The worst verdict of all checks.
pub fn verdict(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.status).max().unwrap_or(Verdict::Ok)
}

/// For a configuration that does not load: the only check that is possible.
pub fn unreadable(faults: &impl std::fmt::Display) -> Vec<Check> {
    vec![Check {
        name: "configuration".to_owned(),
        status: Verdict::Fail,
        finding: faults.to_string(),
        advice: "correct it; config/default.toml says what each key takes".to_owned(),
        latency_ms: 0,
    }]
}

/// Examines everything that this configuration names.
pub async fn examine(config: &Config) -> Vec<Check> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut checks: Vec<BoxFuture<'_, Check>> = vec![
        run("configuration", async {
            pass(format!("loads, for {}", config.environment.as_str()))
        }),
        run("database", remote::database(config)),
        run("database sessions", remote::sessions(config)),
        run("replication slots", remote::slots(config)),
        run("page checksums", remote::checksums(config)),
        run("migrations", remote::migrations(config)),
        run("clock", remote::clock(config)),
        run("redis", remote::redis(config)),
        run("proxies", async { machine::proxies(config) }),
        run("registration", async { settings::registration(config) }),
        run("calls", async { settings::calls(config) }),
        run("addresses", settings::addresses(config)),
        run("file limits", async { machine::file_limits(config) }),
        run("disk", async { machine::disk(config) }),
    ];
    let replicas = [
        ("analytics", &config.database.analytics_url),
        ("reporting", &config.database.reporting_url),
    ];
    for (role, url) in replicas {
        if let Some(url) = url {
            checks.push(run(format!("replica {role}"), remote::replica(config, url)));
        }
    }
    for (name, provider) in &config.providers {
        checks.push(run(format!("provider {name}"), remote::provider(name, provider)));
    }
    join_all(checks).await
}

fn run<'a>(name: impl Into<String>, check: impl Future<Output = Finding> + Send + 'a) -> BoxFuture<'a, Check> {
    let name = name.into();
    Box::pin(async move {
        let started = Instant::now();
        let outcome = tokio::time::timeout(LIMIT, check).await;
        let (status, finding, advice) = outcome.unwrap_or_else(|_| {
            fail(
                format!("no answer within {LIMIT:?}"),
                "see whether it is overloaded, or something between drops packets",
            )
        });
        Check {
            name,
            status,
            finding,
            advice,
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    })
}
