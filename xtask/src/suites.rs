//! `make test`: the suites, each of which also runs by itself, with throw-away servers.

mod all;
mod browser;
mod clients;
mod local_model;
mod make_run;
mod openapi;
mod pytest;
mod run_ends;
mod rust;
pub(crate) mod weights;

pub(crate) use make_run::{text_of, to_file};

use std::process::{Command, ExitCode, Stdio};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    services::{Service, Services, server::Server},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Suite {
    /// The Rust tests, against real PostgreSQL and Redis
    Rust,
    /// The official OpenAI SDKs for JavaScript and Python
    Clients,
    /// The page for people, in real Chromium
    Browser,
    /// Every operation of the OpenAPI document, tried with generated requests
    Openapi,
    /// The crate of the small model, and how people meet it
    LocalModel,
    /// `make run` as a newcomer meets it
    MakeRun,
    /// Ways in which `make run` ends, in each stage of its start (STAGE:END..., or all)
    RunEnds,
    /// What admission is worth, as ratios within one run; on a machine that has nothing else to do
    Load,
}

/// What a suite is run with.
pub(crate) struct Context<'a> {
    pub(crate) jobs: &'a Jobs,
    pub(crate) checkout: &'a Checkout,
    /// For the runner.
    pub(crate) arguments: &'a [String],
}

pub(crate) fn run(checkout: &Checkout, suite: Option<Suite>, arguments: &[String]) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    let context = Context {
        jobs: &jobs,
        checkout,
        arguments,
    };
    let Some(suite) = suite else { return all::run(&context) };
    let status = match suite {
        Suite::Rust => rust::run(&context),
        Suite::Clients => clients::run(&context),
        Suite::Browser => browser::run(&context),
        Suite::Openapi => openapi::run(&context),
        Suite::LocalModel => local_model::run(&context),
        Suite::MakeRun => make_run::run(&context),
        Suite::RunEnds => run_ends::run(&context),
        Suite::Load => rust::run_load(&context),
    };
    status.map(ExitCode::from)
}

impl<'a> Context<'a> {
    pub(crate) fn services(&self, wanted: &[Service]) -> Result<Services<'a>, TaskError> {
        Services::start(self.jobs, self.checkout, wanted)
    }

    pub(crate) fn job(&self, program: &str) -> Command {
        self.jobs.in_checkout(self.checkout, program)
    }
}

/// The worse of two, and the server's log where that is no good.
fn closing(server: &Server, first: u8, second: u8) -> u8 {
    let worse = first.max(second);
    if worse != 0 {
        server.show_log();
    }
    worse
}

pub(crate) fn has_nextest() -> bool {
    let mut command = Command::new("cargo");
    command.args(["nextest", "--version"]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
