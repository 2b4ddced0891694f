//! `mapleai migrate`: looking at the schema, changing it, and taking changes back.

mod text;

use std::io::{self, Write as _};

use clap::{Args, Subcommand, ValueEnum};

use super::CliError;
use crate::app::{
    AppError,
    migrate::{self, Said},
};
use configuration::{Config, Environment};

/// The database lacks migrations; what `status` ends with.
pub(super) const PENDING: u8 = 3;
/// The environment's rules ask for something first; nothing was written.
pub(super) const REFUSED: u8 = 4;
/// The plan that was reviewed is not what would be applied now; nothing was written.
pub(super) const OTHER_PLAN: u8 = 5;

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Migrate {
    #[command(subcommand)]
    command: Option<MigrateCommand>,
    #[command(flatten)]
    apply: Apply,
}

#[derive(Debug, Clone, Subcommand)]
enum MigrateCommand {
    /// What apply would do to this database, with a digest for whoever reviews it; changes nothing
    Plan {
        /// As one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Bring the database up to date and end (the default)
    Apply(Apply),
    /// Take back what stands above a version, the last first
    Rollback {
        /// The last version that stays; 0 for none
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
        to: i64,
        /// Who is responsible
        #[arg(long, value_name = "NAME", value_parser = text_of_something)]
        by: String,
        /// Do so though data is lost; without it that is refused, and named
        #[arg(long)]
        accept_loss: bool,
        /// Do so in production outside of migrations.window, for this reason
        #[arg(long, value_name = "REASON", value_parser = text_of_something)]
        outside_window: Option<String>,
    },
    /// What is applied, by whom, and what is missing; exits with 3 if anything is
    Status {
        /// As one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Empty a database of development's and migrate it
    Reset {
        /// The database's name, typed for safety
        #[arg(long, value_name = "NAME")]
        database: String,
    },
    /// Say of which environment a database is that does not say it
    Mark {
        /// The same as MAPLE_ENV
        #[arg(long, value_enum)]
        environment: Named,
        /// Who says so
        #[arg(long, value_name = "NAME", value_parser = text_of_something)]
        by: String,
    },
    /// Create the demo account in development, and say how to sign in with it
    Seed,
}

#[derive(Debug, Clone, Default, Args)]
struct Apply {
    /// The digest of the plan that was reviewed
    #[arg(long, value_name = "DIGEST", env = "MAPLE_MIGRATE_REVIEWED")]
    reviewed: Option<String>,
    /// Who is responsible
    #[arg(long, value_name = "NAME", env = "MAPLE_MIGRATE_BY")]
    by: Option<String>,
    /// Apply in production outside of migrations.window, for this reason
    #[arg(long, value_name = "REASON", env = "MAPLE_MIGRATE_OUTSIDE_WINDOW")]
    outside_window: Option<String>,
    /// What the program that made a backup said last, where migrations.backup_command does not make it
    #[arg(long, value_name = "JSON", env = "MAPLE_MIGRATE_BACKUP")]
    backup: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Named {
    Development,
    Staging,
    Production,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    #[error("MAPLE_ENV is {configured}, and --environment says {given}; nothing was written")]
    Environment {
        configured: &'static str,
        given: &'static str,
    },
    #[error("the database lacks migrations; see above")]
    Pending,
    #[error("applied with other contents than this binary has; see above")]
    Changed,
}

pub(super) async fn run(config: Config, migrate: &Migrate) -> Result<(), CliError> {
    match &migrate.command {
        None => apply(config, migrate.apply.said()).await,
        Some(MigrateCommand::Apply(arguments)) => apply(config, arguments.said()).await,
        Some(MigrateCommand::Plan { json }) => {
            let plan = migrate::plan(&config).await?;
            print(*json, &plan, text::plan)
        }
        Some(MigrateCommand::Status { json }) => {
            let status = migrate::status(&config).await?;
            print(*json, &status, text::status)?;
            if !status.changed.is_empty() {
                return Err(MigrateError::Changed.into());
            }
            if status.is_up_to_date() {
                Ok(())
            } else {
                Err(MigrateError::Pending.into())
            }
        }
        Some(MigrateCommand::Rollback {
            to,
            by,
            accept_loss,
            outside_window,
        }) => {
            let said = Said {
                by: Some(by.clone()),
                outside_window: outside_window.clone(),
                ..Said::default()
            };
            let versions = migrate::roll_back(config, *to, *accept_loss, said).await?;
            write(&format!("taken back: {versions:?}\n"))
        }
        Some(MigrateCommand::Reset { database }) => {
            migrate::reset(config, database, Said::default()).await?;
            write(&format!("{database} is empty and migrated\n"))
        }
        Some(MigrateCommand::Mark { environment, by }) => mark(config, *environment, by).await,
        Some(MigrateCommand::Seed) => super::org::seed(config).await,
    }
}

/// Whoever has to review a plan finds it where it was refused: in the log of a Job, for one.
async fn apply(config: Config, said: Said) -> Result<(), CliError> {
    let outcome = migrate::apply(config.clone(), said).await;
    if let Err(AppError::MigrationRefused(refused)) = &outcome
        && refused.asks_for_a_review()
        && let Ok(plan) = migrate::plan(&config).await
    {
        write(&text::plan(&plan))?;
    }
    Ok(outcome?)
}

async fn mark(config: Config, given: Named, by: &str) -> Result<(), CliError> {
    let (configured, given) = (config.environment, given.environment());
    if configured != given {
        return Err(MigrateError::Environment {
            configured: configured.as_str(),
            given: given.as_str(),
        }
        .into());
    }
    let said = Said {
        by: Some(by.to_owned()),
        ..Said::default()
    };
    migrate::mark(config, said).await?;
    write(&format!("the database says {}\n", given.as_str()))
}

impl Apply {
    /// What a pipeline leaves empty was not said.
    fn said(&self) -> Said {
        let said = |text: &Option<String>| {
            text.as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        Said {
            reviewed: said(&self.reviewed),
            by: said(&self.by),
            outside_window: said(&self.outside_window),
            backup: said(&self.backup),
        }
    }
}

impl Named {
    fn environment(self) -> Environment {
        match self {
            Self::Development => Environment::Development,
            Self::Staging => Environment::Staging,
            Self::Production => Environment::Production,
        }
    }
}

fn text_of_something(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        Err("must not be empty")
    } else {
        Ok(text.to_owned())
    }
}

fn print<T: serde::Serialize>(json: bool, value: &T, text: fn(&T) -> String) -> Result<(), CliError> {
    let text = if json {
        let json = serde_json::to_string_pretty(value).map_err(|error| CliError::Output(io::Error::other(error)))?;
        format!("{json}\n")
    } else {
        text(value)
    };
    write(&text)
}

fn write(text: &str) -> Result<(), CliError> {
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)
}
