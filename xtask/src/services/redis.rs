//! Redis servers that keep nothing.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path, time::Duration};

use crate::{
    checkout::Checkout,
    env_local,
    error::TaskError,
    jobs::{Job, Jobs},
    ports,
    postgres::last_lines,
    program::{is_on_path, report},
    random,
};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// With a password, and its log in the folder.
pub(crate) fn start_for_tests<'a>(jobs: &'a Jobs, folder: &Path) -> Result<(Job<'a>, String), TaskError> {
    let (port, password) = (ports::random_free()?, random::hex::<16>()?);
    let closed = fs::DirBuilder::new().mode(0o700).create(folder);
    closed.map_err(TaskError::file(folder))?;
    let (settings, log) = (folder.join("redis.conf"), folder.join("log"));
    let text = format!(
        "port {port}\nbind 127.0.0.1\nrequirepass {password}\nsave \"\"\nappendonly no\ndir {}\nlogfile {}\n",
        folder.display(),
        log.display()
    );
    fs::write(&settings, text).map_err(TaskError::file(&settings))?;
    let mut job = jobs.start(jobs.command("redis-server").arg(settings))?;
    if !ports::opens(jobs, &mut job, port, START_TIMEOUT)? {
        report(&last_lines(&log, 40));
        return TaskError::refused("redis-server did not start");
    }
    Ok((job, format!("redis://:{password}@127.0.0.1:{port}")))
}

/// For caches of `make run`, where one is installed and nobody has named another.
pub(crate) fn start_if_any<'a>(jobs: &'a Jobs, checkout: &Checkout) -> Result<Option<(Job<'a>, String)>, TaskError> {
    let other = env_local::setting(checkout, &["REDIS_URL", "MAPLE__REDIS__URL"]);
    if other.is_some() || !is_on_path("redis-server") {
        return Ok(None);
    }
    let port = ports::random_free()?;
    let mut command = jobs.command("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args([
        "--appendonly",
        "no",
        "--maxmemory",
        "64mb",
        "--maxmemory-policy",
        "allkeys-lru",
    ]);
    let mut job = jobs.start(command.args(["--loglevel", "warning"]))?;
    if !ports::opens(jobs, &mut job, port, START_TIMEOUT)? {
        report("redis-server did not start; going on without.");
        return Ok(None);
    }
    Ok(Some((job, format!("redis://127.0.0.1:{port}"))))
}
