//! Private PostgreSQL servers: the one of this checkout, whose data stays between runs, and those of tests, which are thrown away.
//!
//! Each listens on loopback and on a socket in its own folder, and asks for a password that only its user can read. Programs that work on
//! its files are no jobs: what they have begun they finish, and the server outlives who starts it.

mod account;
mod binaries;
mod client;
mod creation;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::{Access, access};

use crate::{
    checkout::Checkout,
    error::TaskError,
    lock, ports,
    program::{self, report, variable},
};

pub(crate) use binaries::{find as find_binaries, psql};
pub(crate) use client::{psql_at, with_database};

use account::Account;

const SUPERUSER: &str = "maple";
const DATABASE: &str = "mapleai";
const LOCK_TIMEOUT: Duration = Duration::from_mins(2);
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    /// Fast and forgetful.
    Test,
    /// PostgreSQL's own settings.
    Durable,
}

pub(crate) struct Postgres {
    /// Where its folder should be, with its lock and log beside it; and where it is.
    requested: PathBuf,
    state: PathBuf,
    profile: Profile,
    /// Its first port, if free; else the next free one, which is remembered.
    first_port: u16,
    account: Account,
    /// The processors that it may use, where not all.
    core: Option<String>,
    installer: PathBuf,
}

impl Postgres {
    /// The checkout's own: in MAPLE_PG_DIR (.local/postgres), from MAPLE_PG_PORT (54329) on, of MAPLE_PG_PROFILE (dev, or test).
    pub(crate) fn of_checkout(checkout: &Checkout) -> Result<Self, TaskError> {
        let folder = variable("MAPLE_PG_DIR").map_or_else(|| checkout.path(".local/postgres"), PathBuf::from);
        let profile = match variable("MAPLE_PG_PROFILE").as_deref() {
            Some("test") => Profile::Test,
            _ => Profile::Dev,
        };
        let port = variable("MAPLE_PG_PORT").and_then(|port| port.parse().ok());
        Self::at(checkout, folder, profile, port.unwrap_or(54329))
    }

    pub(crate) fn at(
        checkout: &Checkout,
        requested: PathBuf,
        profile: Profile,
        first_port: u16,
    ) -> Result<Self, TaskError> {
        let account = Account::choose()?;
        let state = creation::place(&requested, &account)?;
        if state.is_dir() && access(&state, Access::WRITE_OK).is_err() {
            let state = state.display();
            return TaskError::refused(format!(
                "{state} belongs to another user: run this as that user, or remove the folder"
            ));
        }
        Ok(Self {
            requested,
            state,
            profile,
            first_port,
            account,
            core: None,
            installer: checkout.path("scripts/dev/install.sh"),
        })
    }

    pub(crate) fn pinned_to(mut self, core: &str) -> Self {
        self.core = Some(core.to_owned());
        self
    }

    fn data(&self) -> PathBuf {
        self.state.join("data")
    }

    /// The process of this folder's running server. The number in postmaster.pid may by now be some other program's.
    pub(crate) fn server(&self) -> Option<String> {
        let process = self.noted_process()?;
        let data = fs::canonicalize(self.data()).ok()?;
        let folders = self.account.folders_of(std::slice::from_ref(&process));
        folders.contains(&data).then_some(process)
    }

    fn noted_process(&self) -> Option<String> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next().map(str::to_owned)
    }

    /// Of the version that made the data.
    fn binaries(&self) -> Result<PathBuf, TaskError> {
        let made_by = fs::read_to_string(self.data().join("PG_VERSION")).ok();
        let major: Option<u32> = made_by.and_then(|text| text.trim_end().parse().ok());
        if let Some(found) = find_binaries(major) {
            return Ok(found);
        }
        if let (Some(major), Some(_)) = (major, find_binaries(None)) {
            let state = self.state.display();
            return TaskError::refused(format!(
                "{state} was made by PostgreSQL {major}, which is not installed now: install postgresql-{major}, or drop the data with \
                 'scripts/dev/postgres.sh destroy'"
            ));
        }
        program::run(std::process::Command::new(&self.installer).arg("postgres"))?;
        let missing = "no PostgreSQL server (version 14 or newer) found after installing it";
        find_binaries(major).ok_or_else(|| TaskError::Refused(missing.to_owned()))
    }

    fn lock(&self) -> Result<fs::File, TaskError> {
        let file = lock::open(&self.beside("lock"))?;
        let state = self.state.display();
        let late = format!("another start or stop of {state} has taken 2 minutes");
        lock::within(LOCK_TIMEOUT, &late, || file.try_lock())?;
        Ok(file)
    }

    fn beside(&self, extension: &str) -> PathBuf {
        beside(&self.requested, extension)
    }

    pub(crate) fn start(&self) -> Result<(), TaskError> {
        account::make_folder(&self.state, &self.account)?;
        let _lock = self.lock()?;
        if self.server().is_some() {
            return Ok(());
        }
        let binaries = self.binaries()?;
        if !self.data().is_dir() {
            self.create(&binaries)?;
        }
        self.clear_leftovers();
        let log = self.state.join("log");
        let mut port = self.port().unwrap_or(self.first_port);
        for attempt in 1..=ATTEMPTS {
            port = ports::next_free(port)?;
            self.configure(port)?;
            self.account.write(&log, "")?;
            let mut start = self.control(&binaries);
            start.arg("-l").arg(&log).args(["-w", "-t", "60", "start"]);
            if program::output(&mut start).is_ok() {
                self.account.write(&self.state.join("port"), &format!("{port}\n"))?;
                return self.ensure_database();
            }
            // Someone may have taken the port in between; anything else fails again, with its log below.
            report(&format!("PostgreSQL did not start (attempt {attempt}); trying again"));
            thread::sleep(Duration::from_secs(1));
        }
        report(&last_lines(&log, 20));
        TaskError::refused(format!("PostgreSQL did not start; its log is {}", log.display()))
    }

    fn control(&self, binaries: &Path) -> std::process::Command {
        let program = binaries.join("pg_ctl");
        let mut command = match &self.core {
            Some(core) => {
                let mut command = self.account.command("taskset");
                command.args(["-c", core]).arg(program);
                command
            }
            None => self.account.command(program),
        };
        command.arg("-D").arg(self.data());
        command
    }

    pub(crate) fn stop(&self) -> Result<(), TaskError> {
        let _lock = self.lock()?;
        if self.server().is_none() {
            return Ok(());
        }
        let binaries = self.binaries()?;
        let stop = |how| program::output(self.control(&binaries).args(["-m", how, "-w", "-t", "30", "stop"]));
        stop("fast").or_else(|_| stop("immediate")).map(|_| ())
    }

    /// A sentence, and whether it runs.
    pub(crate) fn status(&self) -> (String, bool) {
        let state = self.state.display();
        match (self.server(), self.port()) {
            (Some(process), Some(port)) => {
                let text = format!("running: process {process}, port {port}, files in {state}");
                (text, true)
            }
            _ => (format!("not running (its files: {state})"), false),
        }
    }

    pub(crate) fn destroy(&self) -> Result<(), TaskError> {
        self.stop()?;
        for path in [&self.state, &self.beside("location"), &self.beside("lock")] {
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            if path.exists() {
                removed.map_err(TaskError::file(path))?;
            }
        }
        Ok(())
    }
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

pub(crate) fn last_lines(file: &Path, count: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
