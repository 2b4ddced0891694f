//! The checkout that a task is about, what git says of it, and where builds are kept.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::TaskError,
    program::{self, variable},
};

pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
}

impl Checkout {
    /// What the scripts say it is (MAPLE_ROOT), or the folder that this was started in: `cargo xtask` starts it in the caller's.
    pub(crate) fn find() -> Result<Self, TaskError> {
        let root = match (
            variable("MAPLE_ROOT"),
            variable("CARGO_MANIFEST_DIR").map(PathBuf::from),
        ) {
            (Some(root), _) => root.into(),
            (None, Some(package)) => package.parent().unwrap_or(&package).to_owned(),
            (None, None) => env::current_dir().map_err(TaskError::file("."))?,
        };
        Ok(Self { root })
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root).args(arguments);
        command
    }

    /// What git prints; nothing where it fails, which it does in silence.
    pub(crate) fn ask_git(&self, arguments: &[&str]) -> Option<String> {
        let output = self.git(arguments).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        output.status.success().then_some(text)
    }

    pub(crate) fn head(&self) -> Result<String, TaskError> {
        program::output(&mut self.git(&["rev-parse", "HEAD"]))
    }

    /// The files that differ from the commit, as git lists them; files that it does not follow are left out.
    pub(crate) fn changes(&self) -> Result<String, TaskError> {
        program::output(&mut self.git(&["status", "--porcelain", "--untracked-files=no"]))
    }

    /// Outside the checkout, as scripts/environment.sh has it.
    pub(crate) fn cache() -> PathBuf {
        let home = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/".to_owned()));
        let caches = || variable("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
        variable("MAPLE_CACHE").map_or_else(|| caches().join("mapleai"), PathBuf::from)
    }

    pub(crate) fn target() -> PathBuf {
        variable("CARGO_TARGET_DIR").map_or_else(|| Self::cache().join("target"), PathBuf::from)
    }

    pub(crate) fn path(&self, part: impl AsRef<Path>) -> PathBuf {
        self.root.join(part)
    }
}
