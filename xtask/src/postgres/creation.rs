//! A server's files: where they are, how they are made, and what a killed server has left among them.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Postgres, Profile, SUPERUSER, account::Account, beside};
use crate::{error::TaskError, program::report, random, say};

/// Where root's servers are whose folder another user cannot reach.
const ELSEWHERE: &str = "/var/lib/mapleai-dev";
/// The kernel allows 107 bytes for a socket's path.
const MAX_SOCKET_FOLDER: usize = 85;
/// The last processes of a server need a moment to notice that it is gone.
const REMAINDER_TIMEOUT: Duration = Duration::from_secs(10);

/// A checkout under /root or in a private temporary folder is closed to the server's user. Then the files live elsewhere, and a file beside
/// the requested folder says where.
pub(super) fn place(requested: &Path, account: &Account) -> Result<PathBuf, TaskError> {
    let folder = requested.parent().unwrap_or(requested);
    fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    if !account.is_other() {
        return Ok(requested.to_owned());
    }
    let pointer = beside(requested, "location");
    if let Ok(state) = fs::read_to_string(&pointer) {
        return Ok(state.trim_end().into());
    }
    if account.can_enter(folder) {
        return Ok(requested.to_owned());
    }
    let state = Path::new(ELSEWHERE).join(format!("{:016x}", checksum(requested)));
    fs::write(&pointer, format!("{}\n", state.display())).map_err(TaskError::file(&pointer))?;
    Ok(state)
}

/// The same each time, should the file beside the requested folder be lost (FNV-1a).
fn checksum(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Postgres {
    pub(super) fn create(&self, binaries: &Path) -> Result<(), TaskError> {
        say(&format!("Creating a private PostgreSQL in {}", self.state.display()));
        let (fresh, password) = (self.state.join("data.new"), self.state.join("password"));
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(TaskError::file(&fresh))?;
        }
        self.account.write(&password, &random::hex::<24>()?)?;
        let mut initdb = self.account.command(binaries.join("initdb"));
        initdb.arg("-D").arg(&fresh).arg(format!("--username={SUPERUSER}"));
        initdb
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--pwfile"])
            .arg(&password);
        match self.profile {
            // Tests open thousands of connections from an unoptimised client, for which SCRAM is slow on purpose.
            Profile::Test => initdb.args(["--auth=md5", "--no-sync"]),
            Profile::Dev | Profile::Durable => initdb.arg("--auth=scram-sha-256"),
        };
        let output = initdb.output().map_err(TaskError::file(binaries))?;
        if !output.status.success() {
            report(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
            return TaskError::refused("initdb failed");
        }
        let settings = fresh.join("postgresql.conf");
        let text = fs::read_to_string(&settings).map_err(TaskError::file(&settings))?;
        self.account
            .write(&settings, &format!("{text}\ninclude_if_exists = 'mapleai.conf'\n"))?;
        // Renamed last, so that an interrupted creation is never taken for a database.
        fs::rename(&fresh, self.data()).map_err(TaskError::file(&fresh))
    }

    pub(super) fn configure(&self, port: u16) -> Result<(), TaskError> {
        let socket = self.socket();
        super::account::make_folder(&socket, &self.account)?;
        let settings = settings(port, &socket, self.profile);
        self.account.write(&self.data().join("mapleai.conf"), &settings)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.state.join("socket")
    }

    /// After a kill -9 the lock files stay behind. PostgreSQL clears them unless their process still exists: as another program by now,
    /// or as a zombie in a container whose first process reaps none.
    pub(super) fn clear_leftovers(&self) {
        let Some(process) = self.noted_process() else { return };
        let deadline = Instant::now() + REMAINDER_TIMEOUT;
        while self.has_backends() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
        }
        if Path::new("/proc").join(process).is_dir() && !self.has_backends() {
            _ = fs::remove_file(self.data().join("postmaster.pid"));
            _ = fs::remove_dir_all(self.socket());
        }
    }

    fn has_backends(&self) -> bool {
        let Ok(data) = fs::canonicalize(self.data()) else {
            return false;
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let numbers = processes.map(|entry| entry.file_name()).filter(|name| is_number(name));
        let numbers: Vec<_> = numbers.map(|name| name.to_string_lossy().into_owned()).collect();
        self.account.folders_of(&numbers).contains(&data)
    }
}

fn is_number(name: &OsStr) -> bool {
    name.as_bytes().iter().all(u8::is_ascii_digit)
}

/// TCP alone does as well where the socket's path is too long.
fn settings(port: u16, socket: &Path, profile: Profile) -> String {
    let socket = socket.to_string_lossy();
    let socket = if socket.len() > MAX_SOCKET_FOLDER { "" } else { &socket };
    let test = "max_connections = 400\nfsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = 256MB\n\
                max_wal_size = 4GB\ncheckpoint_timeout = 30min\n";
    format!(
        "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{socket}'\nunix_socket_permissions = 0700\n{}",
        if profile == Profile::Test { test } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::settings;
    use crate::postgres::Profile;
    use std::path::Path;

    #[test]
    fn only_a_server_of_tests_forgets_and_a_long_path_has_no_socket() {
        let dev = settings(54329, Path::new("/srv/maple/socket"), Profile::Dev);
        assert!(
            dev.contains("port = 54329\n") && dev.contains("'/srv/maple/socket'"),
            "{dev}"
        );
        assert!(!dev.contains("fsync"), "{dev}");
        let long = settings(1, Path::new(&"/long".repeat(20)), Profile::Test);
        assert!(
            long.contains("unix_socket_directories = ''\n") && long.contains("fsync = off\n"),
            "{long}"
        );
    }
}
