//! The Rust tests, against real PostgreSQL and Redis; arguments select tests. nextest is used where it is installed.

use std::{num::NonZero, thread};

use super::{Context, has_nextest};
use crate::{
    error::TaskError,
    program::{report, variable},
    services::{Service, install, printed_by},
};

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    install(context.checkout, &["haproxy", "nginx", "prometheus", "faketime"])?;
    // Some tests go through a real PgBouncer. A machine that cannot have one goes on without them and says so; CI does not.
    let pgbouncer = printed_by(context.checkout, "scripts/test/pgbouncer.sh", &[]);
    if pgbouncer.is_err() {
        if variable("CI").is_some() {
            return TaskError::refused("no PgBouncer, and this is CI");
        }
        report("warning: without PgBouncer the tests that go through one are skipped");
    }
    let services = context.services(&[Service::Postgres, Service::Redis])?;
    let mut tests = context.job("cargo");
    if has_nextest() {
        tests.args(["nextest", "run", "--locked", "--no-fail-fast"]);
    } else {
        tests.args(["test", "--locked", "--no-fail-fast", "--"]);
    }
    // Half of what they take is waiting: for a database, or for an interval that the service promises.
    if variable("NEXTEST_TEST_THREADS").is_none() {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        tests.env("NEXTEST_TEST_THREADS", (processors * 2).to_string());
    }
    tests
        .args(context.arguments)
        .env("MAPLE_PGBOUNCER", pgbouncer.unwrap_or_default());
    context.jobs.run(services.name_to(&mut tests))
}

/// `make load-check` (tests/api/overload.rs)
pub(super) fn run_load(context: &Context) -> Result<u8, TaskError> {
    let services = context.services(&[Service::Postgres, Service::Redis])?;
    let mut tests = context.job("cargo");
    tests.args([
        "test",
        "--locked",
        "--test",
        "api",
        "--",
        "--ignored",
        "--test-threads=1",
        "overload::",
    ]);
    context.jobs.run(services.name_to(&mut tests))
}
