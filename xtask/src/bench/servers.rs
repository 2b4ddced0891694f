//! The servers of one bench: PostgreSQL and Redis, on the core of the load.

use std::{
    path::Path,
    process::{self, Command},
    time::Duration,
};

use tempfile::TempDir;

use super::request::Request;
use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::{Job, Jobs},
    ports,
    postgres::{Postgres, Profile, last_lines, with_database},
    program::{self, is_on_path, report, variable},
    services::{open_folder, temporary_folder},
    suites::to_file,
};

const START_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Servers<'a> {
    redis: Option<Job<'a>>,
    redis_url: String,
    database_urls: String,
    postgres: Postgres,
    /// Of this run, which takes them away if the bench cannot any more.
    namespaces: String,
    folder: TempDir,
}

impl<'a> Servers<'a> {
    pub(super) fn start(jobs: &'a Jobs, checkout: &Checkout, request: &Request, core: &str) -> Result<Self, TaskError> {
        let folder = temporary_folder("mapleai-bench.")?;
        open_folder(folder.path())?;
        let place = folder.path().join("postgres");
        let postgres = Postgres::at(checkout, place, Profile::Durable, ports::random_free()?)?.pinned_to(core);
        // From here on the way out ends them.
        let mut servers = Self {
            redis: None,
            redis_url: variable("BENCH_REDIS_URL").unwrap_or_default(),
            database_urls: String::new(),
            postgres,
            namespaces: format!("mapleai-bench-{}", process::id()),
            folder,
        };
        servers.postgres.start()?;
        servers.database_urls = servers.create_databases(request)?;
        if servers.redis_url.is_empty() {
            let log = servers.folder.path().join("redis.log");
            let (job, url) = start_redis(jobs, servers.folder.path(), &log, core)?;
            servers.redis = Some(job);
            servers.redis_url = url;
        }
        Ok(servers)
    }

    /// Their addresses. A gateway in a network namespace of its own finds the server by its socket.
    fn create_databases(&self, request: &Request) -> Result<String, TaskError> {
        let url = self.postgres.url()?;
        let mut urls = Vec::new();
        for number in 1..=request.databases() {
            let name = format!("bench_{number}");
            program::output(self.postgres.psql()?.args(["-qc", &format!("CREATE DATABASE {name}")]))?;
            let address = with_database(&url, &name);
            urls.push(if request.has_namespaces {
                self.postgres.by_socket(&address)
            } else {
                address
            });
        }
        Ok(urls.join(" "))
    }

    pub(super) fn name_to<'c>(&self, bench: &'c mut Command) -> &'c mut Command {
        bench
            .env("BENCH_DATABASE_URLS", &self.database_urls)
            .env("BENCH_REDIS_URL", &self.redis_url);
        bench.env("BENCH_NAMESPACES", &self.namespaces);
        bench.env("BENCH_POSTGRES_PID", self.postgres.server().unwrap_or_default())
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.postgres.destroy() {
            report(&format!("warning: {}", error.chain()));
        }
        for part in ["load", "gateway"] {
            let name = format!("{}-{part}", self.namespaces);
            if Path::new("/run/netns").join(&name).exists() {
                _ = program::output(Command::new("ip").args(["netns", "delete", &name]));
            }
        }
    }
}

fn start_redis<'a>(jobs: &'a Jobs, folder: &Path, log: &Path, core: &str) -> Result<(Job<'a>, String), TaskError> {
    if !is_on_path("redis-server") {
        return TaskError::refused("Redis is missing: apt-get install redis-server, or set BENCH_REDIS_URL");
    }
    let port = ports::random_free()?;
    let mut command = jobs.command("taskset");
    command.args([
        "-c",
        core,
        "redis-server",
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
    ]);
    command.args(["--save", "", "--appendonly", "no", "--maxmemory", "256mb"]);
    command.args(["--maxmemory-policy", "allkeys-lru", "--dir"]).arg(folder);
    let mut job = jobs.start(to_file(&mut command, log)?)?;
    if !ports::opens(jobs, &mut job, port, START_TIMEOUT)? {
        report(&last_lines(log, 40));
        return TaskError::refused("Redis did not start");
    }
    Ok((job, format!("redis://127.0.0.1:{port}")))
}
