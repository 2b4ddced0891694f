//! Throw-away PostgreSQL and Redis servers for tests, on free ports, in a temporary folder.
//!
//! Where TEST_DATABASE_URL or TEST_REDIS_URL names one already, that is used. DATABASE_URL is never touched by tests: it may name a
//! database that matters.

pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod upstream;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::{Job, Jobs},
    ports,
    postgres::{self, Postgres, Profile},
    program::{self, report, variable},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Service {
    Postgres,
    Redis,
}

pub(crate) struct Services<'a> {
    // In this order they end.
    redis: Option<Job<'a>>,
    postgres: Option<Postgres>,
    folder: TempDir,
    database_url: Option<String>,
    redis_url: Option<String>,
}

impl<'a> Services<'a> {
    pub(crate) fn start(jobs: &'a Jobs, checkout: &Checkout, wanted: &[Service]) -> Result<Self, TaskError> {
        let folder = temporary_folder("mapleai-test.")?;
        open_folder(folder.path())?;
        let mut services = Self {
            redis: None,
            postgres: None,
            folder,
            database_url: variable("TEST_DATABASE_URL"),
            redis_url: variable("TEST_REDIS_URL"),
        };
        if wanted.contains(&Service::Postgres) && services.database_url.is_none() {
            install(checkout, &["postgres"])?;
            let place = services.path("postgres");
            let postgres = Postgres::at(checkout, place, Profile::Test, ports::random_free()?)?;
            // From here on the way out destroys it.
            let postgres = services.postgres.insert(postgres);
            postgres.start()?;
            services.database_url = Some(postgres.url()?);
        }
        if wanted.contains(&Service::Redis) && services.redis_url.is_none() {
            install(checkout, &["redis"])?;
            let (job, url) = redis::start_for_tests(jobs, &services.path("redis"))?;
            services.redis = Some(job);
            services.redis_url = Some(url);
        }
        jobs.check()?;
        Ok(services)
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// For tests, the addresses of what was started.
    pub(crate) fn name_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some(url) = &self.database_url {
            command.env("TEST_DATABASE_URL", url);
        }
        if let Some(url) = &self.redis_url {
            command.env("TEST_REDIS_URL", url);
        }
        command
    }

    pub(crate) fn redis_url(&self) -> &str {
        self.redis_url.as_deref().unwrap_or_default()
    }

    pub(crate) fn database_url(&self, name: &str) -> String {
        postgres::with_database(self.database_url.as_deref().unwrap_or_default(), name)
    }

    pub(crate) fn psql(&self, database: &str) -> Command {
        postgres::psql_at(&postgres::psql(), &self.database_url(database))
    }

    pub(crate) fn sql(&self, database: &str, statement: &str) -> Result<(), TaskError> {
        program::output(self.psql(database).args(["-qc", statement])).map(|_| ())
    }

    /// An empty database of this name, whatever was there.
    pub(crate) fn create_anew(&self, database: &str) -> Result<(), TaskError> {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))?;
        self.sql("postgres", &format!("CREATE DATABASE {database}"))
    }
}

impl Drop for Services<'_> {
    fn drop(&mut self) {
        if let Some(postgres) = &self.postgres
            && let Err(error) = postgres.destroy()
        {
            report(&format!("warning: {}", error.chain()));
        }
    }
}

pub(crate) fn temporary_folder(prefix: &str) -> Result<TempDir, TaskError> {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir();
    folder.map_err(TaskError::file("a temporary folder"))
}

/// PostgreSQL runs as another user when this is root, and needs the way to its own (closed) folder.
pub(crate) fn open_folder(folder: &Path) -> Result<(), TaskError> {
    let open = fs::Permissions::from_mode(0o711);
    fs::set_permissions(folder, open).map_err(TaskError::file(folder))
}

/// Installs what is missing of it, or says what to install.
pub(crate) fn install(checkout: &Checkout, what: &[&str]) -> Result<(), TaskError> {
    let installer = checkout.path("scripts/dev/install.sh");
    if program::status(Command::new(installer).args(what))?.success() {
        return Ok(());
    }
    TaskError::refused(format!("not all is here of: {}", what.join(", ")))
}

/// What a script of the project prints, such as the folder of what it has installed.
pub(crate) fn printed_by(checkout: &Checkout, script: &str, arguments: &[&str]) -> Result<PathBuf, TaskError> {
    let text = program::output(Command::new(checkout.path(script)).args(arguments))?;
    Ok(Path::new(&text).to_owned())
}
