//! The command line: parse, load the configuration, dispatch, and turn what happened into an exit code.

mod cache;
mod checklist;
mod client;
mod config;
mod doctor;
mod healthcheck;
mod local_servers;
mod migrate;
mod org;
mod smoke;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use crate::app::{self, AppError};
use configuration::{
    Config,
    load::{ConfigFaults, Sources},
};
use telemetry::{
    error_chain,
    logging::{self, LoggingError},
};

/// Also clap's for wrong arguments: both mean "correct what you wrote and try again".
const FAULTY_INPUT: u8 = 2;
/// Ended by a second signal before everything was in order; what shells give for an interrupted program.
const INTERRUPTED: u8 = 130;
/// For work that blocks a thread, such as hashing a password, when the process ends.
const LAST_WORK: Duration = Duration::from_millis(100);

/// An AI service for an organisation's people and programs.
#[derive(Debug, Parser)]
#[command(name = "mapleai", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
The configuration is described in config/default.toml. MAPLE_ENV chooses development (the default), staging or production.
Exit codes: 0 done, 1 failed while running, 2 faulty configuration or arguments, 130 ended at once by a second signal. Of migrate also: 3 the
database lacks migrations, 4 the environment's rules ask for something first, 5 another plan than the one that was reviewed.";

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or Ctrl-C (the default)
    Serve,
    /// The database's schema: bring it up to date (the default), look at what that would do, take it back
    Migrate(Box<migrate::Migrate>),
    /// Show the effective configuration, with secrets masked and where each value came from
    Config {
        /// As one JSON object instead of TOML
        #[arg(long)]
        json: bool,
    },
    /// Ask the instance that runs with this configuration whether it serves; exits with 1 if not
    Healthcheck(healthcheck::HealthCheck),
    /// Check a deployment from outside: readiness, health, sign-in, answers, metrics; exits with 1 if a step failed
    Smoke(smoke::Smoke),
    /// What a deployment of this commit still lacks; exits with 1 if anything does
    Checklist(checklist::Checklist),
    /// Tell of the model servers on this machine that local.servers would add to the catalogue, one a line
    LocalServers,
    /// The same as `migrate seed`
    Seed,
    /// Organisations: the first one of a closed service, and the smoke test's
    Org {
        #[command(subcommand)]
        command: org::OrgCommand,
    },
    /// Look at what the running instance remembers, or make it forget
    Cache {
        #[command(subcommand)]
        command: cache::CacheCommand,
    },
    /// Examine a deployment from inside; exits with 1 if something is wrong
    Doctor {
        /// As one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// What ends the process with another code than 0.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Configuration(#[from] ConfigFaults),
    #[error("cannot start the log")]
    Log(#[from] LoggingError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("something is wrong; see above")]
    Unwell,
    #[error(transparent)]
    Cache(#[from] cache::CacheCliError),
    #[error(transparent)]
    HealthCheck(#[from] healthcheck::HealthCheckError),
    #[error(transparent)]
    Smoke(#[from] smoke::SmokeError),
    #[error(transparent)]
    Checklist(#[from] checklist::ChecklistError),
    #[error(transparent)]
    Org(#[from] org::OrgError),
    #[error(transparent)]
    Migrate(#[from] migrate::MigrateError),
    #[error(transparent)]
    App(#[from] AppError),
}

/// Runs what the process's arguments ask for.
pub fn run() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command.unwrap_or(Command::Serve),
        Err(answer) => {
            // Help and version come this way too. A closed pipe is the reader's wish.
            _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(FAULTY_INPUT));
        }
    };
    match execute(&command, &Sources::from_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            _ = writeln!(io::stderr(), "mapleai: {}", error_chain(&error));
            match error {
                CliError::Configuration(_) => ExitCode::from(FAULTY_INPUT),
                CliError::App(AppError::Interrupted) => ExitCode::from(INTERRUPTED),
                CliError::Migrate(migrate::MigrateError::Pending) => ExitCode::from(migrate::PENDING),
                CliError::App(AppError::MigrationRefused(refused)) if refused.is_about_the_plan() => {
                    ExitCode::from(migrate::OTHER_PLAN)
                }
                CliError::App(AppError::MigrationRefused(_)) => ExitCode::from(migrate::REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn execute(command: &Command, sources: &Sources) -> Result<(), CliError> {
    if let Command::Config { json } = command {
        return config::show(sources, *json);
    }
    if let Command::Doctor { json } = command {
        return doctor::examine(sources, *json);
    }
    if let Command::Cache { command } = command {
        return cache::run(sources, command);
    }
    if let Command::LocalServers = command {
        return local_servers::show(sources);
    }
    if let Command::Healthcheck(check) = command {
        return healthcheck::run(sources, *check);
    }
    if let Command::Smoke(smoke) = command {
        return smoke::run(smoke);
    }
    if let Command::Checklist(checklist) = command {
        return checklist::run(checklist);
    }
    let config = Config::load(sources)?;
    let _log = logging::init(&config.log)?;
    // TOKIO_WORKER_THREADS, else one worker for each core.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Migrate(migrate) => Box::pin(migrate::run(config, migrate)).await,
            Command::Seed => org::seed(config).await,
            Command::Org { command } => org::run(config, command).await,
            // The others have been answered.
            _ => Ok(Box::pin(app::serve(config, sources.clone())).await?),
        }
    });
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_unknown_commands_are_refused() {
        assert!(Cli::try_parse_from(["mapleai"]).unwrap().command.is_none());
        assert!(matches!(
            Cli::try_parse_from(["mapleai", "config", "--json"]).unwrap().command,
            Some(Command::Config { json: true })
        ));
        assert_eq!(Cli::try_parse_from(["mapleai", "server"]).unwrap_err().exit_code(), 2);
    }
}
