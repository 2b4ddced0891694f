//! The crate of the small model: its tests without weights, then those with the real ones, which are fetched once and kept.
//!
//! Where the weights cannot be had, the latter are NOT CHECKED and the run says so; CI fails then, unless OFFLINE=1.

use std::{fs, path::Path};

use super::{Context, closing, has_nextest, weights};
use crate::{
    checkout::Checkout,
    error::TaskError,
    services::{
        Service, install,
        server::{Server, setting},
        temporary_folder,
    },
};

const REAL: &str = "real_weights";

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    let without = tests_without_weights(context.checkout)?;
    let first = run_tests(context, &without, &[], None)?;
    let Some(weights) = weights::find(context)? else {
        return Ok(first);
    };
    // One at a time: they compute, and one measures memory.
    let real = ["--test".to_owned(), REAL.to_owned()];
    let second = run_tests(context, &real, &["--test-threads", "1"], Some(&weights))?;
    let third = run_as_people_meet_it(context, &weights)?;
    Ok(first.max(second).max(third))
}

fn tests_without_weights(checkout: &Checkout) -> Result<Vec<String>, TaskError> {
    let folder = checkout.path("crates/local-model/tests");
    let entries = fs::read_dir(&folder).map_err(TaskError::file(&folder))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<_> = names
        .filter(|name| name != REAL && folder.join(name).join("main.rs").is_file())
        .collect();
    names.sort();
    let tests = names.into_iter().flat_map(|name| ["--test".to_owned(), name]);
    Ok(["--lib".to_owned()].into_iter().chain(tests).collect())
}

/// `more` is for nextest alone.
fn run_tests(context: &Context, tests: &[String], more: &[&str], weights: Option<&Path>) -> Result<u8, TaskError> {
    let mut command = context.job("cargo");
    let nextest = has_nextest();
    command.args(if nextest { &["nextest", "run"][..] } else { &["test"] });
    command
        .args(["--locked", "-p", "local-model", "--no-fail-fast"])
        .args(tests);
    if nextest {
        command.args(more);
    }
    // As `serve` sets it: with as many threads as processors, each waits for one that something else is using.
    command.env("RAYON_NUM_THREADS", "1");
    if let Some(file) = weights {
        command.env("LOCAL_MODEL_FILE", file);
    }
    context.jobs.run(&mut command)
}

/// MapleAI, its page and OpenAI's package, with the model's process beside it as `make run` has it.
fn run_as_people_meet_it(context: &Context, weights: &Path) -> Result<u8, TaskError> {
    install(context.checkout, &["browser"])?;
    let services = context.services(&[Service::Postgres])?;
    let folder = temporary_folder("mapleai-model.")?;
    let state = folder.path().join("state.json");
    let program = Checkout::target().join("debug/local-model");
    let mut model = context.job(&program.to_string_lossy());
    model.arg("run").arg("--state").arg(&state).arg("--model").arg(weights);
    let _model = context.jobs.start(model.env("RAYON_NUM_THREADS", "1"))?;
    let settings = vec![
        setting("MAPLE__PROVIDERS__LOCAL__KIND", "local"),
        setting("MAPLE__PROVIDERS__LOCAL__STATE_FILE", state.to_string_lossy()),
    ];
    let server = Server::start(context.jobs, context.checkout, &services, &settings)?;
    let status = context.pytest(&services, &server, &["test_real_model.py"], |tests| {
        tests.env("LOCAL_STATE", &state);
    })?;
    Ok(closing(&server, status, 0))
}
