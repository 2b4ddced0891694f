//! What each run did, by whom and why: rows of `migration_runs`, which are only ever added.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use configuration::Environment;
use domain::clock::Clock;

/// In bytes; the table's own bounds.
const NAME_BYTES: usize = 200;
const TEXT_BYTES: usize = 2000;

/// What a run was asked to do, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    pub by: Option<String>,
    /// Of the plan that was reviewed.
    pub digest: Option<String>,
    /// Why outside the window.
    pub reason: Option<String>,
    /// The backup's label and time, as its program gave them.
    pub backup: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Apply,
    Rollback,
    Reset,
    Mark,
}

impl Command {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Reset => "reset",
            Self::Mark => "mark",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Began,
    Done,
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// One run, whose rows have an id in common.
pub(super) struct Run {
    id: Uuid,
    pub(super) command: Command,
    environment: Environment,
    pub(super) order: Order,
    versions: Vec<i64>,
    began: DateTime<Utc>,
}

impl Run {
    pub(super) fn new(command: Command, environment: Environment, order: Order, versions: Vec<i64>) -> Self {
        Self {
            id: Uuid::now_v7(),
            command,
            environment,
            order,
            versions,
            began: Clock::system().now(),
        }
    }

    /// A row of the whole run.
    pub(super) async fn note(
        &self,
        connection: &mut PgConnection,
        outcome: Outcome,
        why: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        self.write(connection, None, outcome, self.began, why).await
    }

    /// A row of one version.
    pub(super) async fn note_version(
        &self,
        connection: &mut PgConnection,
        version: i64,
        outcome: Outcome,
        began: DateTime<Utc>,
        why: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        self.write(connection, Some(version), outcome, began, why).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        version: Option<i64>,
        outcome: Outcome,
        began: DateTime<Utc>,
        why: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        // Rolling back the migration that makes the table takes the record along.
        let exists = sqlx::query_scalar!(r#"SELECT to_regclass('migration_runs') IS NOT NULL AS "exists!""#)
            .fetch_one(&mut *connection)
            .await?;
        if !exists {
            return Ok(());
        }
        let ended = (outcome != Outcome::Began).then(|| Clock::system().now());
        sqlx::query!(
            "INSERT INTO migration_runs (run, command, environment, version, outcome, digest, by_whom, reason, backup, versions, release,
                 began, ended)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            self.id,
            self.command.as_str(),
            self.environment.as_str(),
            version,
            outcome.as_str(),
            self.order.digest.as_deref().map(|text| cut(text, 64)),
            self.order.by.as_deref().map(|text| cut(text, NAME_BYTES)),
            why.or(self.order.reason.as_deref()).map(|text| cut(text, TEXT_BYTES)),
            self.order.backup.as_deref().map(|text| cut(text, TEXT_BYTES)),
            &self.versions,
            env!("CARGO_PKG_VERSION"),
            began,
            ended
        )
        .execute(connection)
        .await
        .map(|_| ())
    }
}

/// Who applied a version, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    pub version: i64,
    pub command: String,
    pub by: Option<String>,
    pub digest: Option<String>,
    pub reason: Option<String>,
    pub backup: Option<String>,
    pub ended: Option<DateTime<Utc>>,
}

/// The last row of each version that was done. Empty where there is no record.
pub(super) async fn last(connection: &mut PgConnection) -> Result<Vec<Recorded>, sqlx::Error> {
    let exists = sqlx::query_scalar!(r#"SELECT to_regclass('migration_runs') IS NOT NULL AS "exists!""#)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        Recorded,
        r#"SELECT DISTINCT ON (version) version AS "version!", command, by_whom AS by, digest, reason, backup, ended
           FROM migration_runs WHERE version IS NOT NULL AND outcome = 'done' ORDER BY version, id DESC"#
    )
    .fetch_all(connection)
    .await
}

/// The versions that runs with this digest were about. A run that was interrupted goes on under its own review.
pub(super) async fn reviewed_as(connection: &mut PgConnection, digest: &str) -> Result<Vec<Vec<i64>>, sqlx::Error> {
    let exists = sqlx::query_scalar!(r#"SELECT to_regclass('migration_runs') IS NOT NULL AS "exists!""#)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!(
        r#"SELECT versions AS "versions!" FROM migration_runs
           WHERE digest = $1 AND command = 'apply' AND outcome = 'began' AND versions IS NOT NULL ORDER BY id DESC LIMIT 10"#,
        digest
    )
    .fetch_all(connection)
    .await
}

/// At the end of a character.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!((cut("äöü", 3), cut("äöü", 4), cut("a", 9)), ("ä", "äö", "a"));
    }
}
