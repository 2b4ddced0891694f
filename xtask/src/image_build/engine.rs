//! A Docker engine to build and run images with. One that runs is used; else, as root, one is started from Debian's packages, with its data
//! in the cache and a socket of its own, and ended with this process.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::{Job, Jobs},
    postgres::last_lines,
    program::{self, report},
    services::{install, temporary_folder},
    suites::to_file,
};

const CLIENTS: [&str; 2] = ["docker", "/usr/bin/docker"];
const START_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Engine<'a> {
    client: &'static str,
    started: Option<Started<'a>>,
}

/// The process ends before its folder is removed.
struct Started<'a> {
    process: Option<Job<'a>>,
    folder: TempDir,
}

impl<'a> Engine<'a> {
    pub(super) fn find(jobs: &'a Jobs, checkout: &Checkout) -> Result<Self, TaskError> {
        let client = CLIENTS.into_iter().find(|client| has_buildkit(client));
        if client.is_none() {
            install(checkout, &["docker"])?;
        }
        let mut engine = Self {
            client: client.unwrap_or(CLIENTS[1]),
            started: None,
        };
        if !engine.answers() {
            engine.start(jobs, checkout)?;
        }
        engine.ensure_base(jobs, checkout)?;
        Ok(engine)
    }

    fn start(&mut self, jobs: &'a Jobs, checkout: &Checkout) -> Result<(), TaskError> {
        if !geteuid().is_root() {
            return TaskError::refused("no Docker engine answers; start one, or run this as root");
        }
        install(checkout, &["docker"])?;
        let data = Checkout::cache().join("docker");
        fs::create_dir_all(&data).map_err(TaskError::file(&data))?;
        let folder = temporary_folder("mapleai-docker.")?;
        let log = folder.path().join("dockerd.log");
        // Containers share the machine's network: nothing of its configuration is touched.
        let mut command = jobs.command("dockerd");
        command
            .arg("--data-root")
            .arg(data)
            .arg("--exec-root")
            .arg(folder.path().join("exec"));
        command
            .arg("--pidfile")
            .arg(folder.path().join("pid"))
            .arg("--host")
            .arg(socket(&folder));
        command.args(["--bridge", "none", "--iptables=false", "--log-level", "warn"]);
        let mut process = jobs.start(to_file(&mut command, &log)?)?;
        let started = self.started.insert(Started { process: None, folder });
        let address = socket(&started.folder);
        let mut answers = false;
        jobs.until(Instant::now() + START_TIMEOUT, || {
            answers = is_answered(Command::new(self.client).env("DOCKER_HOST", &address));
            answers || !process.is_running()
        })?;
        started.process = Some(process);
        if answers {
            return Ok(());
        }
        report(&last_lines(&log, 20));
        TaskError::refused("dockerd did not start")
    }

    /// Where no registry can be reached, the base image of the build is made here.
    fn ensure_base(&self, jobs: &Jobs, checkout: &Checkout) -> Result<(), TaskError> {
        let file = checkout.path("Dockerfile");
        let text = fs::read_to_string(&file).map_err(TaskError::file(&file))?;
        let base = text.lines().find_map(|line| line.strip_prefix("FROM rust:"));
        let base = base.and_then(|rest| rest.split(' ').next());
        let base = base.ok_or_else(|| TaskError::Refused("the Dockerfile names no image of Rust".to_owned()))?;
        let script = checkout.path("scripts/image/base.sh");
        let mut make = jobs.in_checkout(checkout, &script.to_string_lossy());
        self.name_to(make.arg(self.client).arg(format!("rust:{base}")));
        match jobs.run(&mut make)? {
            0 => Ok(()),
            _ => TaskError::refused("there is no image to build with (above)"),
        }
    }

    pub(super) fn build_image(
        &self,
        jobs: &Jobs,
        checkout: &Checkout,
        image: &str,
        arguments: &[String],
    ) -> Result<(), TaskError> {
        let mut build = jobs.in_checkout(checkout, self.client);
        build
            .args(["build", "--network", "host", "--tag", image])
            .args(arguments)
            .arg(".");
        match jobs.run(self.name_to(&mut build))? {
            0 => Ok(()),
            _ => TaskError::refused(format!("{image} could not be built (above)")),
        }
    }

    /// The client and where it finds this.
    pub(super) fn name_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("DOCKER_BUILDKIT", "1").env("MAPLE_DOCKER", self.client);
        if let Some(started) = &self.started {
            command.env("DOCKER_HOST", socket(&started.folder));
        }
        command
    }

    fn answers(&self) -> bool {
        is_answered(&mut Command::new(self.client))
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.process = None;
        let mounted = fs::read_dir(self.folder.path().join("exec/netns"))
            .into_iter()
            .flatten();
        for entry in mounted.filter_map(Result::ok) {
            _ = program::output(Command::new("umount").arg(entry.path()));
        }
    }
}

fn socket(folder: &TempDir) -> String {
    format!("unix://{}/docker.sock", folder.path().display())
}

fn is_answered(docker: &mut Command) -> bool {
    let docker = docker
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    docker.status().is_ok_and(|status| status.success())
}

/// BuildKit comes with clients before 23 and, after that, with buildx.
fn has_buildkit(client: &str) -> bool {
    let ask = |arguments: &[&str]| {
        let output = Command::new(client)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ask(&["buildx", "version"]).is_some() || ask(&["--version"]).is_some_and(|text| brings_buildkit(&text))
}

fn brings_buildkit(version: &str) -> bool {
    let major = version
        .split_once("version ")
        .and_then(|(_, rest)| rest.split('.').next());
    major
        .and_then(|major| major.parse().ok())
        .is_some_and(|major: u32| (18..23).contains(&major))
}

#[cfg(test)]
mod tests {
    use super::brings_buildkit;

    #[test]
    fn clients_before_23_bring_buildkit_along() {
        assert!(brings_buildkit("Docker version 20.10.24+dfsg1, build 297e128\n"));
        assert!(!brings_buildkit("Docker version 29.0.1, build x\n"));
        assert!(!brings_buildkit("podman\n"));
    }
}
