//! `make run` as a newcomer meets it: it gets ready, says how to sign in, uses a Redis, and Ctrl-C ends all of it with 0.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use super::Context;
use crate::{
    error::TaskError,
    ports,
    postgres::last_lines,
    program::report,
    say,
    services::{install, temporary_folder, upstream},
};

/// It builds MapleAI first.
const READY_TIMEOUT: Duration = Duration::from_mins(10);
const END_TIMEOUT: Duration = Duration::from_mins(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    let jobs = context.jobs;
    install(context.checkout, &["compiler", "postgres", "redis", "curl"])?;
    let folder = temporary_folder("mapleai-make-run.")?;
    let output = folder.path().join("output");
    let port = ports::random_free()?;
    // A model server that the newcomer runs already.
    let (_upstream, upstream) = upstream::start(jobs, context.checkout)?;
    let mut run = jobs.command(context.checkout.path("scripts/xtask.sh"));
    run.arg("run");
    // The suite's own servers are not the newcomer's.
    run.env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .env("LOCAL_MODEL", "off");
    run.env("PORT", port.to_string())
        .env("MAPLE__LOCAL__SERVERS", format!("ollama={upstream}"));
    let mut run = jobs.start(to_file(&mut run, &output)?)?;
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut ready = false;
    jobs.until(deadline, || {
        ready = text_of(&output).contains("Stop with Ctrl-C");
        ready || !run.is_running()
    })?;
    if !ready {
        report(&last_lines(&output, 40));
        return TaskError::refused("make run did not get ready");
    }

    let text = text_of(&output);
    let Some(password) = demo_password(&text) else {
        return TaskError::refused("it does not say how to sign in");
    };
    let found = format!("Ollama (port {upstream}): 2 models");
    if !text
        .lines()
        .any(|line| line.trim_start().starts_with("Also found:") && line.contains(&found))
    {
        return TaskError::refused("it does not tell of the model server beside it");
    }
    say("ok: the model server beside it");
    let base = format!("http://127.0.0.1:{port}");
    let sign_in = json!({ "email": DEMO_EMAIL, "password": password }).to_string();
    for (needle, what, path, body) in [
        ("\"told (on this machine)\"", "its models", "/api/models", None),
        ("\"status\":\"ready\"", "readiness", "/api/ready", None),
        (
            "\"access_token\"",
            "the demo account",
            "/api/auth/login",
            Some(&sign_in),
        ),
        ("\"redis_connection\"", "the Redis it has started", "/api/health", None),
        ("\"status\":\"pass\"", "health", "/api/health", None),
    ] {
        let answer = jobs.output(&mut ask(context, &format!("{base}{path}"), body), ASK_TIMEOUT)?;
        if !answer.contains(needle) {
            return TaskError::refused(format!("{what}: {answer} has no {needle}"));
        }
        say(&format!("ok: {what}"));
    }

    // As a terminal does it: to the whole group.
    run.signal(Signal::INT);
    let status = run.wait(Some(END_TIMEOUT))?;
    if status != 0 {
        report(&last_lines(&output, 40));
        return TaskError::refused(format!("Ctrl-C ended it with {status}"));
    }
    if !ports::is_free(port) {
        return TaskError::refused(format!("something still listens on {port}"));
    }
    say("ok: Ctrl-C\n\n7 passed, 0 failed");
    Ok(0)
}

pub(super) const DEMO_EMAIL: &str = "demo@maple.example";

/// What `make run` says to sign in with.
pub(super) fn demo_password(output: &str) -> Option<&str> {
    let line = output.lines().find(|line| line.contains("Sign in with:"))?;
    let (_, password) = line.split_once(&format!("{DEMO_EMAIL} / "))?;
    let is_one = !password.is_empty() && password.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_one.then_some(password)
}

/// A question to what is on this machine, by no proxy.
pub(super) fn ask(context: &Context, address: &str, body: Option<&String>) -> Command {
    let mut curl = context.jobs.command("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "10"]);
    if let Some(body) = body {
        curl.args(["--json", body]);
    }
    curl.arg(address);
    curl
}

pub(crate) fn to_file<'c>(command: &'c mut Command, path: &Path) -> Result<&'c mut Command, TaskError> {
    let file = File::create(path).map_err(TaskError::file(path))?;
    let errors = file.try_clone().map_err(TaskError::file(path))?;
    Ok(command.stdout(file).stderr(errors))
}

pub(crate) fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::demo_password;

    #[test]
    fn the_password_stands_behind_the_account() {
        let output = "  MapleAI is ready\n  Sign in with:      demo@maple.example / aB3\n";
        assert_eq!(demo_password(output), Some("aB3"));
        assert_eq!(demo_password("  Sign in with:      demo@maple.example / \n"), None);
        assert_eq!(demo_password("demo@maple.example / aB3\n"), None);
    }
}
