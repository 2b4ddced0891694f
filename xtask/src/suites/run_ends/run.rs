//! One `make run`, whose processes are found by a mark in their environment.

use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{
    end::{Start, signal},
    stage::{Stage, Stages},
};
use crate::{error::TaskError, ports, processes, program::not_started, random, suites::make_run::to_file};

pub(super) struct Run {
    /// NAME=VALUE
    mark: String,
    child: Child,
    pub(super) make: i32,
    pub(super) port: u16,
    /// To the mirror.
    pub(super) requests_before: usize,
}

impl Run {
    /// In a session of its own.
    pub(super) fn begin(
        stages: &Stages,
        stage: Stage,
        start: Start,
        settings: &[(&str, &str)],
    ) -> Result<Self, TaskError> {
        let (value, port) = (random::hex::<8>()?, ports::random_free()?);
        let root = stages.context.checkout.root.to_string_lossy().into_owned();
        let mut command = Command::new("setsid");
        command.arg("env");
        if start != Start::Background {
            command.arg("--default-signal=HUP,INT,QUIT");
        }
        match start {
            Start::Plain => command.args(["make", "-C", &root, "run"]),
            Start::Nohup => command.args(["nohup", "make", "-C", &root, "run"]),
            Start::Background => command.args(["bash", "-c", &format!("make -C '{root}' run &")]),
            Start::Terminal => command.args(["script", "-qfec", &format!("make -C '{root}' run"), "/dev/null"]),
        };
        command
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .env("MAPLE_TEST_MARK", &value);
        // A runner's own choices are not the person's.
        command
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env_remove("MAPLE_MAKE")
            .env_remove("MAPLE_XTASK");
        command
            .env("PORT", port.to_string())
            .env("TERM", "dumb")
            .envs(stages.environment(stage)?);
        command.envs(settings.iter().copied()).stdin(Stdio::null());
        let requests_before = stages.requests().len();
        let child = to_file(&mut command, &stages.output())?.spawn();
        let mut run = Self {
            mark: format!("MAPLE_TEST_MARK={value}"),
            child: child.map_err(|source| not_started(&command, source))?,
            make: 0,
            port,
            requests_before,
        };
        let mut make = None;
        stages.until(std::time::Duration::from_secs(10), "there is make", || {
            make = run.processes(Some("make")).first().copied();
            make.is_some()
        })?;
        run.make = make.unwrap_or_default();
        Ok(run)
    }

    /// Those of this run, be they of this name or of any.
    pub(super) fn processes(&self, name: Option<&str>) -> Vec<i32> {
        processes::with_variable(&self.mark, name)
    }
}

/// A run that a failure leaves would keep the next suite from starting.
impl Drop for Run {
    fn drop(&mut self) {
        for process in self.processes(None) {
            signal(process, Signal::KILL);
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
