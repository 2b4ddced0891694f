//! Stages of the start of `make run`, and what holds it there.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::run::Run;
use crate::{
    error::TaskError,
    jobs::Job,
    services::temporary_folder,
    suites::{
        Context,
        make_run::{DEMO_EMAIL, ask, demo_password, text_of, to_file},
    },
};

const PORT_TIMEOUT: Duration = Duration::from_secs(10);
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Stage {
    /// MapleAI is being built
    Compiling,
    /// MapleAI serves; the model's program is being built
    Building,
    /// The model's file comes slowly, from a mirror of the test's own
    Downloading,
    /// The model's file is being read (needs the weights)
    Loading,
    /// The model writes an answer (needs the weights)
    Answering,
}

/// What the tests hold `make run` by.
pub(super) struct Stages<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) weights: Option<PathBuf>,
    folder: TempDir,
    mirror: String,
    _mirror: Job<'a>,
}

impl<'a> Stages<'a> {
    pub(super) fn prepare(context: &'a Context<'a>, weights: Option<PathBuf>) -> Result<Self, TaskError> {
        let folder = temporary_folder("mapleai-run-ends.")?;
        // A cargo that begins a build which takes longer than any test.
        let (stub, cargo) = (
            folder.path().join("held"),
            context.checkout.path("scripts/test/run-ends/held-cargo.sh"),
        );
        fs::create_dir(&stub).map_err(TaskError::file(&stub))?;
        symlink(cargo, stub.join("cargo")).map_err(TaskError::file(&stub))?;
        let (log, port) = (folder.path().join("mirror"), folder.path().join("mirror-port"));
        fs::write(&log, "").map_err(TaskError::file(&log))?;
        let mut mirror = context.jobs.command("python3");
        mirror
            .arg(context.checkout.path("scripts/test/run-ends/slow_mirror.py"))
            .arg(&log);
        let mirror = context.jobs.start(to_file(&mut mirror, &port)?)?;
        let stages = Self {
            context,
            weights,
            mirror: String::new(),
            folder,
            _mirror: mirror,
        };
        stages.until(PORT_TIMEOUT, "the mirror's port", || text_of(&port).ends_with('\n'))?;
        let mirror = format!("http://127.0.0.1:{}/model.gguf", text_of(&port).trim_end());
        Ok(Self { mirror, ..stages })
    }

    pub(super) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// What `make run` prints.
    pub(super) fn output(&self) -> PathBuf {
        self.path("output")
    }

    /// The byte that each request to the mirror began at.
    pub(super) fn requests(&self) -> Vec<String> {
        text_of(&self.path("mirror")).lines().map(str::to_owned).collect()
    }

    pub(super) fn until(&self, limit: Duration, what: &str, holds: impl FnMut() -> bool) -> Result<(), TaskError> {
        if self.context.jobs.until(std::time::Instant::now() + limit, holds)? {
            return Ok(());
        }
        crate::program::report(&crate::postgres::last_lines(&self.output(), 40));
        TaskError::refused(format!("not within time: {what}"))
    }

    fn model_state(&self) -> String {
        let text = text_of(&self.context.checkout.path(".local/model-state.json"));
        let state = serde_json::from_str::<Value>(&text).unwrap_or_default();
        state["state"].as_str().unwrap_or_default().to_owned()
    }

    fn held_builds(&self) -> PathBuf {
        self.path("held-builds")
    }

    /// Variables of `make run`. Other stages' files must not be found.
    pub(super) fn environment(&self, stage: Stage) -> Result<Vec<(&'static str, String)>, TaskError> {
        let stub = self.held_builds();
        fs::write(&stub, "").map_err(TaskError::file(&stub))?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut environment = vec![
            (
                "LOCAL_MODEL",
                self.weights
                    .clone()
                    .filter(|_| stage >= Stage::Loading)
                    .map(text)
                    .unwrap_or_default(),
            ),
            ("MAPLE_CACHE", text(self.path("cache"))),
            ("LOCAL_MODEL_URL", self.mirror.clone()),
            ("HELD_LOG", text(stub)),
        ];
        let build = match stage {
            Stage::Compiling => "--bin mapleai",
            Stage::Building => "--bin local-model",
            _ => return Ok(environment),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        environment.push(("PATH", format!("{}:{path}", text(self.path("held")))));
        environment.push(("HELD_BUILD", build.to_owned()));
        Ok(environment)
    }

    /// For an answer, its job.
    pub(super) fn reach(&self, stage: Stage, run: &Run) -> Result<Option<Job<'a>>, TaskError> {
        let until = |seconds, what, holds: &dyn Fn() -> bool| self.until(Duration::from_secs(seconds), what, holds);
        let is_building = || !text_of(&self.held_builds()).is_empty();
        match stage {
            Stage::Compiling => until(60, "MapleAI is built", &is_building)?,
            Stage::Building => {
                until(120, "MapleAI serves", &|| {
                    text_of(&self.output()).contains("MapleAI is ready")
                })?;
                until(60, "the model's program is built", &is_building)?;
            }
            // Of this run, not of one before.
            Stage::Downloading => until(300, "a part of the file is there", &|| {
                let part = self.path("cache/models/SmolLM2-135M-Instruct.Q4_1.gguf.download.part");
                let has_part = fs::metadata(part).is_ok_and(|part| part.len() > 0);
                self.model_state() == "downloading" && self.requests().len() > run.requests_before && has_part
            })?,
            Stage::Loading => until(300, "the model is loaded", &|| self.model_state() == "loading")?,
            Stage::Answering => {
                until(300, "the model is ready", &|| self.model_state() == "ready")?;
                return self.ask_for_long_answer(run.port).map(Some);
            }
        }
        Ok(None)
    }

    /// A first piece of it has come when this returns.
    fn ask_for_long_answer(&self, port: u16) -> Result<Job<'a>, TaskError> {
        let base = format!("http://127.0.0.1:{port}");
        let output = text_of(&self.output());
        let sign_in =
            json!({ "email": DEMO_EMAIL, "password": demo_password(&output).unwrap_or_default() }).to_string();
        let mut login = ask(self.context, &format!("{base}/api/auth/login"), Some(&sign_in));
        let session: Value =
            serde_json::from_str(&self.context.jobs.output(&mut login, ASK_TIMEOUT)?).unwrap_or_default();
        let token = session["access_token"].as_str().unwrap_or_default();
        let question = json!({
            "model": "smollm2-135m", "stream": true, "max_tokens": 1000,
            "messages": [{ "role": "user", "content": "Count from 1 to 1000." }],
        });
        let answer = self.path("answer");
        let mut curl = ask(
            self.context,
            &format!("{base}/v1/chat/completions"),
            Some(&question.to_string()),
        );
        curl.args([
            "--no-buffer",
            "--max-time",
            "120",
            "--header",
            &format!("Authorization: Bearer {token}"),
        ]);
        let job = self.context.jobs.start(to_file(&mut curl, &answer)?)?;
        self.until(Duration::from_mins(1), "an answer is written", || {
            has_content(&text_of(&answer))
        })?;
        Ok(job)
    }
}

/// Whether a stream has brought a letter of its answer.
fn has_content(stream: &str) -> bool {
    let mut texts = stream.split("\"content\":\"").skip(1);
    texts.any(|text| !text.is_empty() && !text.starts_with('"'))
}

#[cfg(test)]
mod tests {
    use super::has_content;

    #[test]
    fn an_answer_has_begun_with_its_first_letter() {
        assert!(!has_content(
            "data: {\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}\n\n"
        ));
        assert!(has_content("{\"content\":\"\"}\n\n{\"content\":\"1\"}"));
    }
}
