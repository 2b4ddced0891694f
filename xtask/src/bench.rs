//! `make bench`: what going through MapleAI costs. Builds it for release, starts a private PostgreSQL for the run, and hands over to
//! crates/bench, whose options this takes (`scripts/bench.sh --help`).
//!
//! Always its own database server: a run writes hundreds of thousands of usage records, which belong in nobody's database. Its durability
//! settings are PostgreSQL's defaults, so that writing those records costs what it costs.

mod request;
mod servers;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::{is_on_path, variable},
    release,
};

use request::Request;
use servers::Servers;

/// Where a bench builds what, and by what flags.
pub(crate) struct Builds {
    /// MapleAI's and the reference proxy's.
    pub(crate) target: PathBuf,
    /// The bench itself is not what is measured.
    pub(crate) program: PathBuf,
    pub(crate) counting: Option<Counting>,
}

/// Programs that count which of their code runs.
pub(crate) struct Counting {
    pub(crate) files: PathBuf,
}

impl Builds {
    pub(crate) fn reference_target(&self) -> PathBuf {
        self.target.join("reference")
    }
}

pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    let target = Checkout::target();
    let program = variable("BENCH_TARGET_DIR").map_or_else(|| target.join("bench-program"), PathBuf::from);
    let builds = Builds {
        target,
        program,
        counting: None,
    };
    perform(&jobs, checkout, &builds, arguments).map(ExitCode::from)
}

/// All is built before anything is started, so that no server waits for the compiler.
pub(crate) fn perform(
    jobs: &Jobs,
    checkout: &Checkout,
    builds: &Builds,
    arguments: &[String],
) -> Result<u8, TaskError> {
    let request = Request::of(arguments);
    let mut settings = Vec::new();
    // Both what is measured and the reference proxy have the flags of a release, and a profile of their own, if there is one.
    if request.wants_reference && variable("BENCH_REFERENCE_BIN").is_none() {
        let target = builds.reference_target();
        builds.build(
            jobs,
            checkout,
            "reference-proxy",
            &["--package", "reference-proxy"],
            &target,
        )?;
        settings.push(("BENCH_REFERENCE_BIN", target.join("release/reference-proxy")));
    }
    let mut more = Vec::new();
    if request.wants_database && request.builds == 0 {
        builds.build(jobs, checkout, "mapleai", &["--bin", "mapleai"], &builds.target)?;
        let binary = builds.target.join("release/mapleai");
        more = vec!["--gateway-bin".to_owned(), format!("mapleai={}", binary.display())];
    }
    let mut build = jobs.in_checkout(checkout, "cargo");
    build.args(["build", "--profile", "bench", "--locked", "--package", "mapleai-bench"]);
    if jobs.run(build.env("CARGO_TARGET_DIR", &builds.program).env_remove("RUSTFLAGS"))? != 0 {
        return TaskError::refused("the bench could not be built (above)");
    }

    let program = builds.program.join("release/mapleai-bench");
    let mut bench = jobs.in_checkout(checkout, &program.to_string_lossy());
    bench.args(more).args(arguments).envs(settings);
    if let Some(counting) = &builds.counting {
        bench.env("LLVM_PROFILE_FILE", counting.files.join("%m.profraw"));
    }
    let core = |name, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
    let load = core("BENCH_LOAD_CORE", "1");
    bench
        .env("BENCH_GATEWAY_CORE", core("BENCH_GATEWAY_CORE", "0"))
        .env("BENCH_LOAD_CORE", &load);
    if !request.wants_database {
        return jobs.run(&mut bench);
    }
    if !is_on_path("taskset") {
        return TaskError::refused("taskset is missing: apt-get install util-linux");
    }
    let servers = Servers::start(jobs, checkout, &request, &load)?;
    jobs.run(servers.name_to(&mut bench))
}

impl Builds {
    fn build(
        &self,
        jobs: &Jobs,
        checkout: &Checkout,
        program: &str,
        what: &[&str],
        target: &Path,
    ) -> Result<(), TaskError> {
        let arguments = [&["build", "--release", "--locked"][..], what].concat();
        let mut cargo = release::cargo(jobs, checkout, &arguments, target);
        match &self.counting {
            None => release::with_profile(&mut cargo, checkout, program),
            // Build scripts and macros count too.
            Some(counting) => {
                let counts = counting.files.join("%m.profraw");
                cargo
                    .env("RUSTFLAGS", "-Cprofile-generate")
                    .env("LLVM_PROFILE_FILE", counts);
            }
        }
        release::perform(jobs, &mut cargo)
    }
}
