//! `cargo xtask`: what the make targets do: servers for development and tests, suites, delivery. People and pipelines call the targets;
//! `make help` lists them.
//!
//! By the programs that people use themselves (kubectl, git, curl, docker), so that every step can be done by hand, too. What those print
//! as JSON is read here as JSON.

mod bench;
mod checklist;
mod checkout;
mod checks;
mod cli;
mod cluster;
mod curl;
mod db;
mod delivery_tests;
mod deploy;
mod env_local;
mod environment;
mod error;
mod evidence;
mod image;
mod image_build;
mod jobs;
mod lease;
mod lock;
mod measure;
mod notify;
mod phases;
mod pin;
mod ports;
mod postgres;
mod previous;
mod processes;
mod profile;
mod program;
mod random;
mod release;
mod rollback;
mod rollout;
mod run;
mod sbom;
mod services;
mod shown;
mod sqlx;
mod suites;
mod with;
mod with_releases;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use signal_hook::consts::SIGINT;

use checkout::Checkout;
use cli::{Cli, Task};
use error::TaskError;

fn main() -> ExitCode {
    let done = Checkout::find().and_then(|checkout| perform(&Cli::parse().task, &checkout));
    done.unwrap_or_else(|error| match error {
        TaskError::Signalled { signal } => ExitCode::from(if signal == SIGINT { 130 } else { 143 }),
        error => {
            _ = writeln!(io::stderr(), "error: {}", error.chain());
            ExitCode::FAILURE
        }
    })
}

fn perform(task: &Task, checkout: &Checkout) -> Result<ExitCode, TaskError> {
    match task {
        Task::Pin { environment, image } => pin::run(checkout, environment, image),
        Task::Deploy { environment, image } => deploy::run(checkout, environment, image),
        Task::Rollback { environment, from } => {
            rollback::run(checkout, environment, from.as_deref().unwrap_or_default())
        }
        Task::Measure { environment } => measure::run(checkout, environment),
        Task::Notify { message } => notify::run(message),
        Task::Evidence {
            item,
            outcome,
            by,
            detail,
        } => evidence::run(checkout, item, outcome, by, detail),
        Task::Shown { item, by, command } => shown::run(checkout, item, by, command),
        Task::Checklist { phase, image } => checklist::run(checkout, phase, image),
        Task::Sbom { file } => sbom::run(checkout, file),
        Task::Previous => previous::run(checkout),
        Task::Postgres { action } => db::run(checkout, action),
        Task::Db { arguments } => db::open(checkout, arguments),
        Task::With {
            services,
            limit,
            command,
        } => with::run(checkout, services, *limit, command),
        Task::Run => run::run(checkout),
        Task::Dev => run::dev(checkout),
        Task::Test { suite, arguments } => suites::run(checkout, *suite, arguments),
        Task::Lint => checks::lint(checkout),
        Task::Check => checks::changed::run(checkout),
        Task::Fuzz => checks::fuzz::run(checkout),
        Task::K8sTest { arguments } => checks::k8s::run(checkout, arguments),
        Task::Scan => checks::k8s::scan(checkout),
        Task::Compatibility => with_releases::compatibility(checkout),
        Task::Rehearse { short, report } => with_releases::rehearse(checkout, *short, *report),
        Task::Image => image_build::build(checkout),
        Task::ImageTest { report } => image_build::test(checkout, *report),
        Task::ModelImageTest => image_build::test_local_model(checkout),
        Task::Build => release::build(checkout),
        Task::Bench { arguments } => bench::run(checkout, arguments),
        Task::Profile => profile::run(checkout),
        Task::Sqlx { action } => sqlx::run(checkout, *action),
        Task::LocalModel { state } => run::model::build_and_become(checkout, state),
        Task::Launch { parent, command } => jobs::launch(*parent, command),
        Task::Guard { process } => jobs::run_guard(*process),
        Task::LeaseGuard { file } => lease::run_guard(checkout, file),
    }
}

/// A closed pipe is the reader's wish: the exit code says what matters.
fn say(line: &str) {
    _ = writeln!(io::stdout(), "{line}");
}
