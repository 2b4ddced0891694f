//! `make k8s-test`: manifests render, validate and say what the deployment strategy says; rules, dashboards and runbooks speak of metrics
//! that a running instance exports; workflows, scripts, Dockerfile and migrations pass their linters. And `make scan`.
//!
//! KUBE_SCHEMAS names the folder with the schemas of custom resources (../shared/schemas unless set; `none` does without, and says so).
//! MAPLE_BINARY names a built MapleAI.

mod metrics;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    phases::Phases,
    program::is_on_path,
    services::{Service, Services, install, printed_by},
};

/// Of the pinned packages of tests/k8s/requirements.txt.
const LINTERS: [&str; 4] = ["hadolint", "squawk", "yamllint", "zizmor"];
const SCRIPTS: [&str; 5] = ["health_check", "bench_check", "scripts", "deploy", "pipeline"];

/// Arguments go to pytest, and only it is run then.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<ExitCode, TaskError> {
    require_kubectl()?;
    let jobs = Jobs::begin()?;
    let services = Services::start(&jobs, checkout, &[Service::Postgres, Service::Redis])?;
    let checks = Checks::prepare(checkout, &services.path("tools"))?;
    let server = metrics::start_instance(&jobs, checkout, &services)?;
    let metrics = services.path("metrics");
    let pytest = |files: &[&str]| {
        let mut command = checks.pytest(&jobs, checkout, files);
        command.env("MAPLE_METRICS_FILE", &metrics);
        command
    };
    if !arguments.is_empty() {
        metrics::export(&jobs, &server, &metrics)?;
        let status = jobs.run(pytest(&["tests/k8s", "tests/monitoring"]).args(arguments))?;
        return Ok(ExitCode::from(status));
    }
    let mut phases = Phases::begin(&jobs, None)?;
    let mut xtask = jobs.in_checkout(checkout, "cargo");
    phases.run(
        "xtask",
        xtask.args(["test", "--quiet", "--locked", "--package", "xtask"]),
    )?;
    phases.run("manifests", &mut pytest(&["tests/k8s"]))?;
    metrics::export(&jobs, &server, &metrics)?;
    phases.run("monitoring", &mut pytest(&["tests/monitoring"]))?;
    let scripts = SCRIPTS.map(|name| format!("tests/delivery/test_{name}.py"));
    phases.run("scripts", &mut pytest(&scripts.each_ref().map(String::as_str)))?;
    let shell = checkout.path("scripts/lint/shell.sh");
    phases.run("shellcheck", &mut jobs.in_checkout(checkout, &shell.to_string_lossy()))?;
    phases.report();
    Ok(phases.code())
}

/// `make scan`: licences and sources of dependencies, and what scanners say of manifests, Dockerfile and workflows.
pub(crate) fn scan(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    require_kubectl()?;
    let jobs = Jobs::begin()?;
    let services = Services::start(&jobs, checkout, &[])?;
    let checks = Checks::prepare(checkout, &services.path("tools"))?;
    let mut phases = Phases::begin(&jobs, None)?;
    let deny = checkout.path("scripts/lint/deny.sh");
    phases.run("cargo-deny", &mut jobs.in_checkout(checkout, &deny.to_string_lossy()))?;
    phases.run(
        "scanners",
        &mut checks.pytest(&jobs, checkout, &["tests/k8s/test_scan.py"]),
    )?;
    phases.report();
    Ok(phases.code())
}

/// Not installed by this: clusters have versions of their own.
pub(crate) fn require_kubectl() -> Result<(), TaskError> {
    if is_on_path("kubectl") {
        return Ok(());
    }
    TaskError::refused("kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)")
}

/// What the checks of manifests, monitoring and pipeline run with: the pinned versions are first on the PATH.
struct Checks {
    python: PathBuf,
    path: OsString,
}

impl Checks {
    fn prepare(checkout: &Checkout, tools: &Path) -> Result<Self, TaskError> {
        install(checkout, &["prometheus", "python", "curl"])?;
        let environment = |requirements: &[&str]| printed_by(checkout, "scripts/test/python.sh", requirements);
        let venv = environment(&["tests/k8s/requirements.txt"])?;
        // In an environment of its own: what it depends on is older than what the rest takes.
        let checkov = environment(&["tests/k8s/requirements-checkov.txt"])?;
        let shellcheck = environment(&[])?;
        // Not the environments' folders: each has a Python, too.
        fs::create_dir(tools).map_err(TaskError::file(tools))?;
        let link = |folder: &Path, name: &str| {
            symlink(folder.join("bin").join(name), tools.join(name)).map_err(TaskError::file(tools.join(name)))
        };
        for name in LINTERS {
            link(&venv, name)?;
        }
        link(&checkov, "checkov")?;
        link(&shellcheck, "shellcheck")?;
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([tools.to_owned()].into_iter().chain(env::split_paths(&path)));
        Ok(Self {
            python: venv.join("bin/python"),
            path: path.map_err(|_| TaskError::Refused("PATH cannot be extended".to_owned()))?,
        })
    }

    fn pytest(&self, jobs: &Jobs, checkout: &Checkout, files: &[&str]) -> Command {
        let mut command = jobs.in_checkout(checkout, &self.python.to_string_lossy());
        command
            .args([
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                "tests",
                "-q",
                "-rs",
            ])
            .args(files);
        command.env("PATH", &self.path).env("PYTHONDONTWRITEBYTECODE", "1");
        if let Ok(program) = env::current_exe() {
            command.env("MAPLE_XTASK", program);
        }
        command
    }
}
