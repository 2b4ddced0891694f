//! What a running instance exports, for tests/monitoring.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    services::{
        Services,
        server::{self, Server, setting},
    },
};

const EMAIL: &str = "ada@maple.example";
const PASSWORD: &str = "correct horse battery";
const ASK_TIMEOUT: Duration = Duration::from_secs(30);
/// An instance counts its people after a while.
const COUNT_TIMEOUT: Duration = Duration::from_secs(90);

/// An instance with a database, which is its own replica too, Redis and a journal, where a person has registered, signed in and asked a model.
pub(super) fn start_instance<'a>(
    jobs: &'a Jobs,
    checkout: &Checkout,
    services: &Services,
) -> Result<Server<'a>, TaskError> {
    let settings = vec![
        setting("REDIS_URL", services.redis_url()),
        setting("MAPLE__DATABASE__REPORTING_URL", server::OWN_DATABASE),
        setting("MAPLE__DATABASE__ANALYTICS_URL", server::OWN_DATABASE),
        setting("MAPLE__USAGE__JOURNAL_DIR", services.path("journal").to_string_lossy()),
    ];
    let server = Server::start(jobs, checkout, services, &settings)?;
    let person = json!({ "email": EMAIL, "password": PASSWORD, "name": "Ada", "organization": "Metrics" });
    let mut register = curl(jobs, &format!("{}/api/auth/register", server.url()));
    register.args(["--fail-with-body", "--json", &person.to_string()]);
    let (answer, status) = jobs.output_and_status(&mut register, ASK_TIMEOUT)?;
    if status != 0 {
        return TaskError::refused(format!("registration was refused: {answer}"));
    }
    let mut smoke = jobs.command(server::binary(jobs, checkout)?);
    smoke
        .args(["smoke", server.url()])
        .env("SMOKE_EMAIL", EMAIL)
        .env("SMOKE_PASSWORD", PASSWORD);
    match jobs.run(&mut smoke)? {
        0 => Ok(server),
        _ => TaskError::refused("the instance does not do its work (above)"),
    }
}

/// Writes what it says at /metrics once that is complete.
pub(super) fn export(jobs: &Jobs, server: &Server, file: &Path) -> Result<(), TaskError> {
    let deadline = Instant::now() + COUNT_TIMEOUT;
    while Instant::now() < deadline {
        let mut ask = curl(jobs, &format!("{}/metrics", server.url()));
        let metrics = jobs.output(ask.arg("--fail"), ASK_TIMEOUT)?;
        if metrics.lines().any(|line| line.starts_with("maple_active_users{")) {
            return fs::write(file, metrics).map_err(TaskError::file(file));
        }
        jobs.pause(Duration::from_secs(1))?;
    }
    TaskError::refused("the instance has not counted its people within 90 s; its metrics are not complete")
}

fn curl(jobs: &Jobs, address: &str) -> Command {
    let mut curl = jobs.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30", address]);
    curl
}
