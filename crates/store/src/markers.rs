//! The marker: one row of the primary that says when it last took a write. Copies have it as it was when they were made.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Connection as _;

use super::{Database, StoreError, timed_query};

/// What a database says of its history. Times are by the clock of the server that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// One more at each write; 0 where there was none yet.
    pub number: i64,
    pub written_at: DateTime<Utc>,
    /// A server that is promoted begins a higher one.
    pub timeline: i64,
}

#[derive(Clone)]
pub struct Markers(pub(super) Database);

impl Markers {
    /// Writes the marker if it is older than `interval`, whichever instance asks first. Returns the one that is there then, and the
    /// server's time. A marker from the future, which a clock that was set back leaves, is written anew.
    ///
    /// It does not wait for standbys: it tells what there is to be copied, and where no standby answers each write would leave a
    /// session behind that waits on the server, which no limit ends (PostgreSQL's manual, `synchronous_commit`).
    pub async fn write_if_due(&self, interval: Duration) -> Result<(Marker, DateTime<Utc>), StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                sqlx::query!("SET LOCAL synchronous_commit = 'local'")
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query!(
                    "UPDATE markers
                     SET number = number + 1, written_at = clock_timestamp(), position = pg_current_wal_insert_lsn(),
                         timeline = ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
                     WHERE only_row = (
                         SELECT only_row FROM markers
                         WHERE written_at NOT BETWEEN clock_timestamp() - make_interval(secs => $1) AND clock_timestamp()
                         FOR UPDATE SKIP LOCKED
                     )",
                    interval.as_secs_f64()
                )
                .execute(&mut *transaction)
                .await?;
                let there = sqlx::query!(
                    r#"SELECT number, written_at, timeline, clock_timestamp() AS "now!" FROM markers"#
                )
                .fetch_one(&mut *transaction)
                .await?;
                transaction.commit().await?;
                let marker = Marker {
                    number: there.number,
                    written_at: there.written_at,
                    timeline: there.timeline,
                };
                Ok((marker, there.now))
            })
            .await;
        connection.settle(outcome)
    }

    /// The newest that this database has.
    pub(super) async fn newest(&self) -> Result<Marker, StoreError> {
        timed_query!(
            self.0,
            sqlx::query_as!(Marker, "SELECT number, written_at, timeline FROM markers"),
            fetch_one
        )
    }
}
