//! What runs two releases on one schema: `make compatibility` and `make rehearse`.

use std::{fs, path::PathBuf, process::ExitCode};

use crate::{
    checkout::Checkout,
    checks::k8s::require_kubectl,
    delivery_tests,
    error::TaskError,
    jobs::Jobs,
    previous::{self, Release},
    say,
    services::{Service, Services, install, server::built},
    suites::text_of,
};

/// The previous release's binary on the new schema under load, and the new binary on the old schema.
pub(crate) fn compatibility(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    install(checkout, &["compiler", "postgres", "python"])?;
    let tried = Tried::prepare(&jobs, checkout, ["compatibility", "compatibility_old"])?;
    say(&format!("The previous release is {:.12}", tried.previous.commit));
    let mut tests = delivery_tests::pytest(&jobs, checkout, "test_compatibility.py")?;
    tests
        .env("MAPLE_OLD", &tried.previous.binary)
        .env("MAPLE_NEW", &tried.binary);
    tests.env("MAPLE_FOLDER", tried.services.path(""));
    tests.env("MAPLE_DATABASE", tried.services.database_url("compatibility"));
    tests.env("MAPLE_OLD_DATABASE", tried.services.database_url("compatibility_old"));
    jobs.run(&mut tests).map(ExitCode::from)
}

/// Candidates, good and bad, go through the roll-out's own analysis.
pub(crate) fn rehearse(checkout: &Checkout, short: bool, report: bool) -> Result<ExitCode, TaskError> {
    require_kubectl()?;
    let jobs = Jobs::begin()?;
    install(checkout, &["compiler", "haproxy", "prometheus", "postgres", "python"])?;
    let tried = Tried::prepare(&jobs, checkout, ["rehearsal", "rehearsal_empty"])?;
    let folder = if report {
        checkout.path("docs/reports")
    } else {
        tried.services.path("")
    };
    let mut rehearsal = delivery_tests::python(&jobs, checkout)?;
    rehearsal
        .arg("tests/delivery/rehearse.py")
        .arg("--stable")
        .arg(&tried.previous.binary);
    rehearsal
        .args(["--stable-commit", &tried.previous.commit, "--candidate"])
        .arg(&tried.binary);
    rehearsal.args(["--database", &tried.services.database_url("rehearsal")]);
    rehearsal.args(["--empty-database", &tried.services.database_url("rehearsal_empty")]);
    rehearsal.arg("--report").arg(&folder);
    if short {
        for case in ["good, blue-green", "5 % errors", "failing completions"] {
            rehearsal.args(["--only", case]);
        }
    }
    let status = jobs.run(&mut rehearsal)?;
    if status == 0 {
        say(&text_of(&folder.join("rehearsal.json")));
    }
    Ok(ExitCode::from(status))
}

/// The previous release and this one, with databases of their own.
struct Tried<'a> {
    previous: Release,
    binary: PathBuf,
    services: Services<'a>,
}

impl<'a> Tried<'a> {
    fn prepare(jobs: &'a Jobs, checkout: &Checkout, databases: [&str; 2]) -> Result<Self, TaskError> {
        let previous = previous::ensure(checkout)?;
        let built = built(jobs, checkout)?;
        let services = Services::start(jobs, checkout, &[Service::Postgres])?;
        // A copy: another build in the same folder must not change what runs.
        let binary = services.path("candidate");
        fs::copy(&built, &binary).map_err(TaskError::file(&built))?;
        for database in databases {
            services.create_anew(database)?;
        }
        Ok(Self {
            previous,
            binary,
            services,
        })
    }
}
