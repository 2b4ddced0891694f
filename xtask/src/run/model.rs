//! A small model on this machine, which answers in place of canned text.
//!
//! - `LOCAL_MODEL`: unset, SmolLM2 135M, fetched once; a path, that GGUF file; `off`, no model
//! - `LOCAL_MODEL_URL`: a mirror of the file
//!
//! MapleAI and its person know of it by a state file; whatever becomes of the model, MapleAI serves.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Command, ExitCode, Stdio},
};

use serde_json::{Value, json};

use crate::{
    checkout::Checkout,
    env_local,
    error::TaskError,
    jobs::{Job, Jobs, own_command},
    program::{self, not_started},
    say,
};

const STATE: &str = ".local/model-state.json";

pub(crate) struct Model {
    state: PathBuf,
    root: PathBuf,
    /// LOCAL_MODEL, where a model is wanted.
    wanted: Option<String>,
}

impl Model {
    /// Before the server starts, which reads the state file from then on.
    pub(crate) fn announce(checkout: &Checkout, environment: &str) -> Result<Self, TaskError> {
        let state = checkout.path(STATE);
        let choice = env_local::setting(checkout, &["LOCAL_MODEL"]).unwrap_or_default();
        _ = fs::remove_file(&state);
        let wanted = (environment == "development" && choice != "off").then_some(choice);
        if wanted.is_some() {
            write_state(&state, &json!({ "state": "building" }))?;
        }
        Ok(Self {
            state,
            root: checkout.root.clone(),
            wanted,
        })
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// For MapleAI.
    pub(crate) fn settings(&self) -> Vec<(&'static str, &Path)> {
        if self.wanted.is_none() {
            return Vec::new();
        }
        vec![
            ("MAPLE__PROVIDERS__LOCAL__KIND", Path::new("local")),
            ("MAPLE__PROVIDERS__LOCAL__STATE_FILE", &self.state),
        ]
    }

    /// After the server has been announced: builds and runs the model's own program beside it.
    pub(crate) fn start<'a>(&self, jobs: &'a Jobs) -> Result<Option<Job<'a>>, TaskError> {
        let Some(choice) = &self.wanted else { return Ok(None) };
        let mut command = own_command(jobs);
        command.arg("local-model").arg(&self.state).env("LOCAL_MODEL", choice);
        jobs.start(command.env("MAPLE_ROOT", &self.root)).map(Some)
    }
}

/// MapleAI that somebody else starts later must not believe in it.
impl Drop for Model {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.state);
    }
}

/// `xtask local-model STATE-FILE`: builds the program that runs the small model, and becomes it.
pub(crate) fn build_and_become(checkout: &Checkout, state: &Path) -> Result<ExitCode, TaskError> {
    let log = checkout.path(".local/model-build.log");
    let program = Checkout::target().join("debug/local-model");
    if !program.exists() {
        say(&format!(
            "Building what runs the small model, once, in the background: a few minutes on two cores (log: {})",
            log.display()
        ));
    }
    let output = File::create(&log).map_err(TaskError::file(&log))?;
    let errors = output.try_clone().map_err(TaskError::file(&log))?;
    // The person waits for MapleAI's own builds, not for this one.
    let mut build = Command::new("nice");
    build.args([
        "-n",
        "15",
        "cargo",
        "build",
        "--locked",
        "--package",
        "local-model",
        "--bin",
        "local-model",
    ]);
    build
        .current_dir(&checkout.root)
        .env("CARGO_TARGET_DIR", Checkout::target())
        .env("SQLX_OFFLINE", "true");
    build.stdin(Stdio::null()).stdout(output).stderr(errors);
    if !program::status(&mut build)?.success() {
        let reason = format!(
            "The small model cannot run, since its program could not be built; MapleAI goes on without it. The log says why: {}",
            log.display()
        );
        write_state(state, &json!({ "state": "failed", "reason": reason }))?;
        program::report(&format!("{reason}."));
        return Ok(ExitCode::FAILURE);
    }
    let mut model = Command::new("nice");
    model
        .args(["-n", "5"])
        .arg(program)
        .arg("run")
        .arg("--state")
        .arg(state);
    let source = model.current_dir(&checkout.root).exec();
    Err(not_started(&model, source))
}

/// In one step, for the person's eyes alone.
fn write_state(path: &Path, state: &Value) -> Result<(), TaskError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    }
    let beside = path.with_extension(format!("{}.new", process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside);
    let written = file.and_then(|mut file| writeln!(file, "{state}"));
    written.map_err(TaskError::file(&beside))?;
    fs::rename(&beside, path).map_err(TaskError::file(path))
}

#[cfg(test)]
mod tests {
    use super::write_state;
    use serde_json::json;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn the_state_is_whole_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/state.json");
        for reason in ["first", "with \"quotes\""] {
            write_state(&path, &json!({ "state": "failed", "reason": reason })).unwrap();
            let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(state["reason"], reason);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
