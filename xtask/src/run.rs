//! `make run`: builds MapleAI and runs it in the development environment with a private PostgreSQL, until Ctrl-C.

pub(crate) mod announcement;
pub(crate) mod model;
mod watch;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use signal_hook::consts::SIGINT;

use crate::{
    checkout::Checkout,
    env_local,
    error::TaskError,
    jobs::{Job, Jobs},
    lease::{Lease, database_of_caller},
    ports::{self, Readiness},
    program::{report, variable},
    services::{install, redis},
};

use model::Model;
use watch::Watch;

const READY_TIMEOUT: Duration = Duration::from_secs(90);
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Model servers that the person runs already; LOCAL_SERVERS=off leaves them alone.
const LOCAL_SERVERS: &str = "ollama,lm-studio,llama-cpp,vllm";

/// `make run`
pub(crate) fn run(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    until_interrupted(|jobs| {
        install_needs(checkout)?;
        build(jobs, checkout)?;
        let around = Around::start(jobs, checkout)?;
        let server = around.serve()?;
        let _model = around.model.start(jobs)?;
        server.wait(None).map(ExitCode::from)
    })
}

/// `make dev`: the same, built and started again after every change. While a build fails, the last good server keeps running.
pub(crate) fn dev(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    until_interrupted(|jobs| {
        install_needs(checkout)?;
        let around = Around::start(jobs, checkout)?;
        let (mut server, mut model): (Option<Job>, Option<Job>) = (None, None);
        let mut built = Watch::default();
        loop {
            let seen = Watch::look(checkout);
            if seen != built {
                built = seen;
                match build(jobs, checkout) {
                    Ok(()) => {
                        // Both want the same port.
                        drop(server.take());
                        server = Some(around.serve()?);
                        if model.is_none() {
                            model = around.model.start(jobs)?;
                        }
                    }
                    Err(TaskError::Failed { .. }) if server.as_mut().is_some_and(Job::is_running) => {
                        report("The build failed; the server before it keeps running. Waiting for the next change ...");
                    }
                    Err(TaskError::Failed { .. }) => report("The build failed. Waiting for the next change ..."),
                    Err(error) => return Err(error),
                }
            }
            jobs.pause(WATCH_INTERVAL)?;
        }
    })
}

/// Ctrl-C is how these are meant to end.
fn until_interrupted(task: impl FnOnce(&Jobs) -> Result<ExitCode, TaskError>) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?.with_farewell("\nStopping MapleAI ...");
    let ended = task(&jobs);
    // What it has run in the foreground may have been interrupted before it was.
    let ended = if ended.is_err() { jobs.check().and(ended) } else { ended };
    match ended {
        Err(TaskError::Signalled { signal: SIGINT }) => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

fn install_needs(checkout: &Checkout) -> Result<(), TaskError> {
    match database_of_caller(checkout) {
        Some(_) => Ok(()),
        None => install(checkout, &["postgres"]),
    }
}

fn build(jobs: &Jobs, checkout: &Checkout) -> Result<(), TaskError> {
    jobs.cargo(checkout, &["build", "--locked", "--bin", "mapleai"])
}

/// What MapleAI runs with, in the order in which it is started; it ends the other way round.
struct Around<'a> {
    jobs: &'a Jobs,
    binary: PathBuf,
    root: PathBuf,
    port: u16,
    environment: String,
    local_servers: Option<String>,
    model: Model,
    redis: Option<(Job<'a>, String)>,
    lease: Lease,
}

impl<'a> Around<'a> {
    fn start(jobs: &'a Jobs, checkout: &Checkout) -> Result<Self, TaskError> {
        let environment = variable("MAPLE_ENV").unwrap_or_else(|| "development".to_owned());
        let port = env_local::setting(checkout, &["PORT", "MAPLE__SERVER__PORT"]);
        let port = port.map_or(Ok(3000), |text| {
            let refused = || TaskError::Refused(format!("PORT must be a number below 65536, not '{text}'"));
            text.parse().map_err(|_| refused())
        })?;
        let asks = environment == "development" && variable("LOCAL_SERVERS").as_deref() != Some("off");
        let is_set = std::env::var_os("MAPLE__LOCAL__SERVERS").is_some();
        let is_set = is_set || env_local::value(checkout, &["MAPLE__LOCAL__SERVERS"]).is_some();
        let lease = Lease::take(checkout)?;
        jobs.check()?;
        let redis = redis::start_if_any(jobs, checkout)?;
        let model = Model::announce(checkout, &environment)?;
        Ok(Self {
            jobs,
            binary: Checkout::target().join("debug/mapleai"),
            root: checkout.root.clone(),
            port,
            environment,
            local_servers: (asks && !is_set).then(|| LOCAL_SERVERS.to_owned()),
            model,
            redis,
            lease,
        })
    }

    fn mapleai(&self, command: &str) -> Command {
        let mut mapleai = self.jobs.command(&self.binary);
        mapleai.arg(command).current_dir(&self.root);
        mapleai
            .env("MAPLE_ENV", &self.environment)
            .env("DATABASE_URL", self.lease.url());
        if let Some((_, url)) = &self.redis {
            mapleai.env("REDIS_URL", url);
        }
        if let Some(servers) = &self.local_servers {
            mapleai.env("MAPLE__LOCAL__SERVERS", servers);
        }
        mapleai.envs(self.model.settings());
        mapleai
    }

    /// Starts the built binary, and says where it is once it is ready.
    fn serve(&self) -> Result<Job<'a>, TaskError> {
        let port = self.port;
        if !ports::is_free(port) {
            return TaskError::refused(format!(
                "port {port} is in use by another program; end that, or choose a port: PORT=3001 make run"
            ));
        }
        let mut server = self.jobs.start(&mut self.mapleai("serve"))?;
        match ports::ready(self.jobs, &mut server, port, READY_TIMEOUT)? {
            Readiness::Ready => self.announce()?,
            Readiness::Late => report(&format!(
                "MapleAI has not become ready within {} s; its log above says why. It is left running.",
                READY_TIMEOUT.as_secs()
            )),
            Readiness::Ended => {}
        }
        Ok(server)
    }
}
