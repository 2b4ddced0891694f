//! What clients of a private server need: its address, and psql.

use std::{fs, path::Path, process::Command};

use super::{DATABASE, Postgres, Profile, SUPERUSER};
use crate::{error::TaskError, program};

impl Postgres {
    pub(super) fn port(&self) -> Option<u16> {
        let text = fs::read_to_string(self.state.join("port")).ok()?;
        text.trim_end().parse().ok()
    }

    fn access(&self) -> Result<(u16, String), TaskError> {
        let never = "the private PostgreSQL has never been started: scripts/dev/postgres.sh start";
        let port = self.port().ok_or_else(|| TaskError::Refused(never.to_owned()))?;
        let path = self.state.join("password");
        let password = fs::read_to_string(&path).map_err(TaskError::file(&path))?;
        Ok((port, password))
    }

    pub(crate) fn url(&self) -> Result<String, TaskError> {
        let (port, password) = self.access()?;
        Ok(format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{DATABASE}"))
    }

    /// The same address, for a client that reaches no loopback.
    pub(crate) fn by_socket(&self, address: &str) -> String {
        let port = self.port().unwrap_or_default();
        let by_name = address.replace(&format!("@127.0.0.1:{port}/"), "@localhost/");
        format!("{by_name}?host={}&port={port}", self.socket().display())
    }

    /// The password goes through the environment: arguments are visible to everyone on the machine.
    pub(crate) fn psql(&self) -> Result<Command, TaskError> {
        let (port, password) = self.access()?;
        let mut command = Command::new(self.binaries()?.join("psql"));
        command.args(["-v", "ON_ERROR_STOP=1"]).env("PGPASSWORD", password);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGDATABASE", DATABASE);
        Ok(command)
    }

    pub(super) fn ensure_database(&self) -> Result<(), TaskError> {
        let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
        let answer = program::output(self.psql()?.args(["-d", "postgres", "-Atc", &exists]))?;
        if answer != "1" {
            let create = format!("CREATE DATABASE {DATABASE}");
            program::output(self.psql()?.args(["-d", "postgres", "-qc", &create]))?;
        }
        if self.profile == Profile::Dev {
            // The mark of development's own databases: without it MapleAI touches none that has tables.
            let mark = "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS mapleai_development (demo_password text)";
            program::output(self.psql()?.args(["-qc", mark]))?;
        }
        Ok(())
    }
}

/// An address with another database's name.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let (address, settings) = url
        .split_once('?')
        .map_or((url, None), |(address, settings)| (address, Some(settings)));
    let server = address.rsplit_once('/').map_or(address, |(server, _)| server);
    match settings {
        Some(settings) => format!("{server}/{name}?{settings}"),
        None => format!("{server}/{name}"),
    }
}

/// psql on an address, silent about a person's own settings.
pub(crate) fn psql_at(program: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_name_of_a_database_is_replaced_and_its_settings_stay() {
        assert_eq!(with_database("postgres://a:b@h:1/old", "new"), "postgres://a:b@h:1/new");
        assert_eq!(
            with_database("postgres://a:b@h:1/old?host=/tmp/x&port=2", "new"),
            "postgres://a:b@h:1/new?host=/tmp/x&port=2"
        );
    }
}
