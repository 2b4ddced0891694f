//! A really started MapleAI for client tests, with a database and port of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::{Services, temporary_folder};
use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::{Job, Jobs},
    ports::{self, Readiness},
    postgres::{self, last_lines},
    program::variable,
    random, say,
};

const START_TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) struct Server<'a> {
    _job: Job<'a>,
    folder: TempDir,
    url: String,
    database_url: String,
}

/// A setting's value that stands for the URL of the server's database.
pub(crate) const OWN_DATABASE: &str = "its own database";

/// What a suite's server gets beside what each of them gets.
pub(crate) type Settings = Vec<(String, String)>;

pub(crate) fn setting(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// The one that MAPLE_BINARY names, or the one that is built.
pub(crate) fn binary(jobs: &Jobs, checkout: &Checkout) -> Result<PathBuf, TaskError> {
    if let Some(binary) = variable("MAPLE_BINARY") {
        return Ok(binary.into());
    }
    built(jobs, checkout)
}

pub(crate) fn built(jobs: &Jobs, checkout: &Checkout) -> Result<PathBuf, TaskError> {
    jobs.cargo(checkout, &["build", "--locked", "--bin", "mapleai"])?;
    Ok(Checkout::target().join("debug/mapleai"))
}

impl<'a> Server<'a> {
    pub(crate) fn start(
        jobs: &'a Jobs,
        checkout: &Checkout,
        services: &Services,
        settings: &Settings,
    ) -> Result<Self, TaskError> {
        let binary = binary(jobs, checkout)?;
        let folder = temporary_folder("mapleai-server.")?;
        let port = ports::random_free()?;
        let database = format!("mapleai_client_{}", random::hex::<6>()?);
        services.sql("postgres", &format!("CREATE DATABASE {database}"))?;
        let database_url = services.database_url(&database);
        let log = folder.path().join("log");
        let output = File::create(&log).map_err(TaskError::file(&log))?;
        let errors = output.try_clone().map_err(TaskError::file(&log))?;
        let mut command = jobs.command(binary);
        // A folder without .env.local, and no provider but the mock: tests neither use nor pay for a person's own keys.
        command
            .arg("serve")
            .current_dir(folder.path())
            .stdout(output)
            .stderr(errors);
        for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "REDIS_URL"] {
            command.env_remove(name);
        }
        command
            .env("DATABASE_URL", &database_url)
            .env("MAPLE_ENV", "development");
        command
            .env("MAPLE_CONFIG_DIR", checkout.path("config"))
            .env("PORT", port.to_string());
        // What a password costs to hash has tests of its own. Here it is most of what a sign-in takes.
        command
            .env("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64")
            .env("MAPLE__AUTH__ARGON2_ITERATIONS", "1");
        let of = |value: &String| {
            if value == OWN_DATABASE {
                database_url.clone()
            } else {
                value.clone()
            }
        };
        command.envs(settings.iter().map(|(name, value)| (name, of(value))));
        let mut job = jobs.start(&mut command)?;
        if ports::ready(jobs, &mut job, port, START_TIMEOUT)? != Readiness::Ready {
            crate::program::report(&last_lines(&log, 40));
            return TaskError::refused("MapleAI did not become ready for the tests");
        }
        Ok(Self {
            _job: job,
            folder,
            url: format!("http://localhost:{port}"),
            database_url,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is, and what a test looks at, or does, behind its back.
    pub(crate) fn name_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("MAPLE_URL", &self.url)
            .env("SERVER_LOG", self.folder().join("log"));
        command
            .env("SERVER_DATABASE_URL", &self.database_url)
            .env("SERVER_PSQL", postgres::psql())
    }

    /// What it had to say, where a suite failed.
    pub(crate) fn show_log(&self) {
        let log = self.folder().join("log");
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if text.is_empty() {
            return;
        }
        say("\n--- the server's log: warnings and errors, and the last lines");
        let grave = text
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        grave.take(30).for_each(say);
        say("...");
        say(&last_lines(&log, 15));
    }
}
