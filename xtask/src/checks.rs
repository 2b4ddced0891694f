//! What is checked without MapleAI's own tests: `make lint`, `make check`, `make k8s-test`, `make scan`, `make fuzz`.

pub(crate) mod changed;
pub(crate) mod fuzz;
pub(crate) mod k8s;

use std::process::ExitCode;

use crate::{checkout::Checkout, error::TaskError, jobs::Jobs, phases::Phases, services::install};

/// `make lint`: runs all of them, so that one look shows every fault.
pub(crate) fn lint(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    install(checkout, &["compiler"])?;
    let mut phases = Phases::begin(&jobs, None)?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    let fmt = ["fmt", "--all", "--check"];
    // `fuzz/` is a package apart, which takes files of the service as they are, but for their tests.
    let clippy_of_fuzz = ["clippy", "--workspace", "--locked", "--", "-D", "warnings"];
    let of_fuzz = ["--manifest-path", "fuzz/Cargo.toml"];
    for (name, arguments, package) in [
        ("rustfmt", &fmt[..], &[][..]),
        ("clippy", &clippy, &[]),
        ("fuzz-rustfmt", &fmt, &of_fuzz),
        ("fuzz-clippy", &clippy_of_fuzz, &of_fuzz),
    ] {
        let (action, rest) = arguments.split_at(1);
        let mut cargo = jobs.in_checkout(checkout, "cargo");
        phases.run(name, cargo.args(action).args(package).args(rest))?;
    }
    for (name, script) in [
        ("cargo-deny", "deny.sh"),
        ("shellcheck", "shell.sh"),
        ("line-ends", "line-ends.sh"),
    ] {
        let script = checkout.path("scripts/lint").join(script);
        phases.run(name, &mut jobs.in_checkout(checkout, &script.to_string_lossy()))?;
    }
    phases.report();
    Ok(phases.code())
}
