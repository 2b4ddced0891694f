//! Use of the private PostgreSQL by several commands at once (`make run`, `make db`, …). Each has a shared lock while it runs; the last one
//! out stops the server. A command that is killed loses its lock, so it never counts, and a process apart stops what it leaves.

use std::{
    fs::File,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use rustix::process::setsid;
use signal_hook::{
    consts::{SIGHUP, SIGINT},
    flag,
};

use crate::{
    checkout::Checkout,
    env_local,
    error::TaskError,
    jobs::own_program,
    lock,
    postgres::Postgres,
    program::{not_started, report},
};

const LOCK_TIMEOUT: Duration = Duration::from_mins(2);

/// A database to develop with: the caller's, or the private one, which is stopped with its last lease.
pub(crate) struct Lease {
    url: String,
    leased: Option<(File, Postgres)>,
}

impl Lease {
    /// Starts the private server unless the environment or .env.local names another.
    pub(crate) fn take(checkout: &Checkout) -> Result<Self, TaskError> {
        if let Some(url) = database_of_caller(checkout) {
            return Ok(Self { url, leased: None });
        }
        let path = checkout.path(".local/postgres.lease");
        let file = lock::open(&path)?;
        let late = "another command has been stopping the private PostgreSQL for 2 minutes";
        lock::within(LOCK_TIMEOUT, late, || file.try_lock_shared())?;
        // Before the server: whoever is killed in between leaves none running.
        start_guard(&path, checkout)?;
        let postgres = Postgres::of_checkout(checkout)?;
        // From here on the way out stops it.
        let mut lease = Self {
            url: String::new(),
            leased: None,
        };
        let postgres = &lease.leased.insert((file, postgres)).1;
        postgres.start()?;
        lease.url = postgres.url()?;
        Ok(lease)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// psql in the private server; nothing where the caller has named another.
    pub(crate) fn psql(&self) -> Result<Option<Command>, TaskError> {
        let private = self.leased.as_ref();
        private.map(|(_, postgres)| postgres.psql()).transpose()
    }
}

pub(crate) fn database_of_caller(checkout: &Checkout) -> Option<String> {
    env_local::setting(checkout, &["DATABASE_URL"])
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((file, postgres)) = &self.leased
            && file.try_lock().is_ok()
            && let Err(error) = postgres.stop()
        {
            report(&format!("warning: {}", error.chain()));
        }
    }
}

fn start_guard(file: &Path, checkout: &Checkout) -> Result<(), TaskError> {
    let mut command = own_program();
    command.arg("lease-guard").arg(file).env("MAPLE_ROOT", &checkout.root);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
        .spawn()
        .map(|_| ())
        .map_err(|source| not_started(&command, source))
}

/// `xtask lease-guard FILE`: stops the server once nobody has a lease any more. Where that was done in order, there is nothing to do.
pub(crate) fn run_guard(checkout: &Checkout, file: &Path) -> Result<ExitCode, TaskError> {
    _ = setsid();
    for signal in [SIGINT, SIGHUP] {
        let ignored = Arc::new(AtomicBool::new(false));
        flag::register(signal, ignored).map_err(TaskError::file("the handlers of signals"))?;
    }
    let lease = lock::open(file)?;
    // As long as somebody works with it: there is no limit on that.
    lease.lock().map_err(TaskError::file(file))?;
    Postgres::of_checkout(checkout)?.stop()?;
    Ok(ExitCode::SUCCESS)
}
