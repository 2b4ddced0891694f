//! Which user a server runs as. PostgreSQL refuses to run as root, so root hands it to another user, who must reach its files.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use crate::{
    error::TaskError,
    program::{self, not_started},
};

/// Debian's package makes the first; without it, one of our own that owns nothing else.
const USERS: [&str; 2] = ["postgres", "mapleai-dev"];

pub(crate) struct Account {
    /// User and group, where it is not the caller's own.
    other: Option<(u32, u32)>,
}

impl Account {
    pub(crate) fn choose() -> Result<Self, TaskError> {
        if !geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let [packaged, own] = USERS;
        let found = ids_of(packaged).or_else(|| ids_of(own));
        if found.is_none() {
            let mut command = Command::new("useradd");
            program::run(command.args(["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", own]))?;
        }
        let other = found.or_else(|| ids_of(own));
        other
            .map(|ids| Self { other: Some(ids) })
            .ok_or_else(|| TaskError::Refused(format!("there is no user {own} to run PostgreSQL as")))
    }

    pub(crate) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// A program that runs as the server's user, and gets none of the terminal's signals: what begins with a server's files is finished.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        if let Some((user, group)) = self.other {
            command.uid(user).gid(group);
        }
        command
    }

    pub(crate) fn can_enter(&self, folder: &Path) -> bool {
        let mut command = self.command("test");
        command.arg("-x").arg(folder);
        command.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn own(&self, path: &Path) -> Result<(), TaskError> {
        let Some((user, group)) = self.other else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(TaskError::file(path))
    }

    /// For the server's user alone. Written as that user, who could lead root astray by a link.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<(), TaskError> {
        let mut command = self.command("sh");
        command
            .args(["-c", "umask 077; exec cat >\"$1\"", "sh"])
            .arg(path)
            .stdin(Stdio::piped());
        let mut child = command.spawn().map_err(|source| not_started(&command, source))?;
        let written = child
            .stdin
            .take()
            .map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes()));
        let status = child.wait().map_err(TaskError::file(path))?;
        written.map_err(TaskError::file(path))?;
        if status.success() {
            return Ok(());
        }
        TaskError::refused(format!("{} could not be written (above)", path.display()))
    }

    /// The folders that those of these processes work in which are this user's. By a program of that user: containers keep them even from
    /// root.
    pub(crate) fn folders_of(&self, processes: &[String]) -> Vec<PathBuf> {
        let links = processes.iter().map(|process| format!("/proc/{process}/cwd"));
        let output = self.command("readlink").args(links).stderr(Stdio::null()).output();
        let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
        String::from_utf8_lossy(&text).lines().map(PathBuf::from).collect()
    }
}

/// A folder of the server's user that is closed to others.
pub(crate) fn make_folder(path: &Path, account: &Account) -> Result<(), TaskError> {
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(TaskError::file(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(TaskError::file(path))?;
    }
    account.own(path)
}

fn ids_of(user: &str) -> Option<(u32, u32)> {
    let id = |which| {
        let output = Command::new("id")
            .args([which, user])
            .stderr(Stdio::null())
            .output()
            .ok()?;
        String::from_utf8_lossy(&output.stdout).trim_end().parse().ok()
    };
    Some((id("-u")?, id("-g")?))
}
