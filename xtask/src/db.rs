//! The private PostgreSQL, by hand: `scripts/dev/postgres.sh` and `make db`.

use std::{
    process::{Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
};

use clap::Subcommand;
use signal_hook::{consts::SIGINT, flag};

use crate::{
    checkout::Checkout,
    error::TaskError,
    lease::Lease,
    postgres::Postgres,
    program::{pass_on, variable},
    say,
};

/// What `postgres status` ends with where none runs.
const NOT_RUNNING: u8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Start it; with DATABASE_URL set, start nothing
    Start,
    Stop,
    /// Say whether it runs; 3 if not
    Status,
    /// Print its address, or DATABASE_URL
    Url,
    /// psql in it, or in DATABASE_URL
    Psql {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Stop it and remove its data
    Destroy,
}

pub(crate) fn run(checkout: &Checkout, action: &Action) -> Result<ExitCode, TaskError> {
    let other = variable("DATABASE_URL");
    let postgres = || Postgres::of_checkout(checkout);
    match (action, other) {
        (Action::Start, Some(_)) => say("DATABASE_URL is set and used; no private PostgreSQL is started"),
        (Action::Url, Some(url)) => say(&url),
        (Action::Psql { arguments }, Some(url)) => return pass_on(Command::new("psql").arg(url).args(arguments)),
        (Action::Start, None) => postgres()?.start()?,
        (Action::Url, None) => say(&postgres()?.url()?),
        (Action::Psql { arguments }, None) => return pass_on(postgres()?.psql()?.args(arguments)),
        (Action::Stop, _) => postgres()?.stop()?,
        (Action::Destroy, _) => postgres()?.destroy()?,
        (Action::Status, _) => {
            let (text, runs) = postgres()?.status();
            say(&text);
            return Ok(ExitCode::from(if runs { 0 } else { NOT_RUNNING }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `make db`: psql stays in the foreground for its terminal, where Ctrl-C cancels a query and must not end this.
pub(crate) fn open(checkout: &Checkout, arguments: &[String]) -> Result<ExitCode, TaskError> {
    let ignored = Arc::new(AtomicBool::new(false));
    flag::register(SIGINT, ignored).map_err(TaskError::file("the handler of SIGINT"))?;
    let lease = Lease::take(checkout)?;
    let psql = lease.psql()?;
    let mut psql = psql.unwrap_or_else(|| {
        let mut command = Command::new("psql");
        command.arg(lease.url());
        command
    });
    pass_on(psql.args(arguments))
}
