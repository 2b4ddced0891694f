//! The rules of the environments: a reviewed plan with a way back, a backup, and the window.

use super::{
    Said,
    backup::{self, BackupError},
};
use crate::app::AppError;
use configuration::{Config, Environment, migrations::Review};
use domain::clock::Clock;
use store::migrations::{Session, plan::Plan};

/// What a run lacks. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(
        "{environment} is migrated by a plan that somebody has reviewed: look at `mapleai migrate plan`, then run `mapleai migrate apply \
         --reviewed {digest} --by NAME`; nothing was written"
    )]
    NotReviewed { environment: &'static str, digest: String },
    #[error("--by says who is responsible for this run; nothing was written")]
    Nobody,
    #[error(
        "the plan that was reviewed is {given}, and what would be applied now is {now}: other migrations, another text, or another \
         database; look at `mapleai migrate plan` again; nothing was written"
    )]
    OtherPlan { given: String, now: String },
    #[error("there is no way back from {}; a .down.sql belongs to each; nothing was written", .0.join(", "))]
    NoWayBack(Vec<String>),
    #[error(
        "production's schema changes in migrations.window, which {when}; --outside-window REASON goes past it and is written down; nothing \
         was written"
    )]
    OutsideWindow { when: String },
    #[error("there is no evidence of a backup; nothing was written")]
    Backup(#[source] BackupError),
}

impl Refused {
    /// Whether it was the plan: scripts tell it from the rest.
    pub fn is_about_the_plan(&self) -> bool {
        matches!(self, Self::OtherPlan { .. })
    }

    /// Whether somebody has to look at the plan first.
    pub fn asks_for_a_review(&self) -> bool {
        matches!(self, Self::NotReviewed { .. } | Self::OtherPlan { .. })
    }
}

/// The digest is of what would be applied now, and each of it has a way back.
pub(super) async fn reviewed(config: &Config, session: &mut Session, plan: &Plan, said: &Said) -> Result<(), AppError> {
    if config.migrations.review == Review::None {
        return Ok(());
    }
    let Some(digest) = &said.reviewed else {
        return Err(Refused::NotReviewed {
            environment: config.environment.as_str(),
            digest: plan.digest.clone(),
        }
        .into());
    };
    if said.by.is_none() {
        return Err(Refused::Nobody.into());
    }
    if !session.is_reviewed(plan, digest).await? {
        return Err(Refused::OtherPlan {
            given: digest.clone(),
            now: plan.digest.clone(),
        }
        .into());
    }
    let lacking: Vec<String> = plan
        .pending
        .iter()
        .filter(|planned| planned.way_back.is_none())
        .map(|planned| planned.name.clone())
        .collect();
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(Refused::NoWayBack(lacking).into())
    }
}

/// Production alone has windows.
pub(super) fn in_window(config: &Config, reason: Option<&str>) -> Result<(), Refused> {
    if config.environment != Environment::Production || config.migrations.review == Review::None || reason.is_some() {
        return Ok(());
    }
    let now = Clock::system().now().timestamp();
    let windows = &config.migrations.window;
    if windows.iter().any(|window| window.contains(now)) {
        return Ok(());
    }
    let next = windows
        .iter()
        .map(|window| (window.opens_in(now), window))
        .min_by_key(|(seconds, _)| *seconds);
    let when = next.map_or_else(
        || "has none".to_owned(),
        |(seconds, window)| format!("opens in {} h {} min ({window})", seconds / 3600, seconds / 60 % 60),
    );
    Err(Refused::OutsideWindow { when })
}

/// What is written down of the backup.
pub(super) async fn backed_up(config: &Config, said: &Said) -> Result<Option<String>, Refused> {
    if config.migrations.review == Review::None {
        return Ok(None);
    }
    let now = Clock::system().now();
    let evidence = match &said.backup {
        Some(line) => backup::read(line, config.migrations.backup_max_age, now),
        None => backup::make(config).await,
    };
    evidence.map(Some).map_err(Refused::Backup)
}
