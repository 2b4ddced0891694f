//! Which server the address leads to. A connection is an address remembered: after a fail-over those that were opened before lead to the
//! server before, which may go on answering reads for hours (brettwooldridge/HikariCP #1802), or take writes that nobody will have
//! (cloudnative-pg/cloudnative-pg #7407).

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::counter;
use sqlx::PgConnection;
use telemetry::{error_chain, metrics as names};

use super::Database;
use crate::error::is_starting_or_stopping;

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Server {
    /// The same for a primary and all its copies.
    system: i64,
    /// A server that is promoted begins a higher one.
    timeline: i32,
    in_recovery: bool,
}

/// Follows the servers that connections are opened to.
#[derive(Debug, Default)]
pub(super) struct Failover {
    last: Mutex<Option<Server>>,
    /// Connections that were opened before are not lent again.
    retired: Mutex<Option<Instant>>,
    /// Idle ones among them are still to be closed.
    to_close: AtomicBool,
}

impl Failover {
    /// No connection that is open now is lent again.
    pub(super) fn retire(&self) {
        *self.retired.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.to_close.store(true, Ordering::Release);
    }

    /// Whether a connection of this age may be lent again.
    pub(super) fn keeps(&self, age: Duration) -> bool {
        let retired = *self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.is_none_or(|at| at.elapsed() > age)
    }

    /// Looks where a connection that was just opened leads. An error if that is a primary whose history has ended: another server was
    /// promoted, and what is written here is lost. A server that does not say where it is in its history is believed.
    pub(super) async fn admit(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        match identify(connection).await {
            Ok(found) => self.note(found),
            Err(error) if error.as_database_error().is_some() => {
                tracing::debug!(target: "mapleai::database", error = %error_chain(&error), "the server does not say which one it is");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn note(&self, found: Server) -> Result<(), sqlx::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = *last else {
            *last = Some(found);
            return Ok(());
        };
        let same_system = before.system == found.system;
        if same_system && !found.in_recovery && found.timeline < before.timeline {
            counter!(names::DATABASE_STALE).increment(1);
            return Err(sqlx::Error::Protocol(format!(
                "the address leads to a primary of timeline {}, and {} was seen: its history has ended",
                found.timeline, before.timeline
            )));
        }
        if same_system && before.in_recovery == found.in_recovery && before.timeline >= found.timeline {
            return Ok(());
        }
        tracing::warn!(target: "mapleai::database", timeline = found.timeline, timeline_before = before.timeline, in_recovery = found.in_recovery, same_system, "the database's address leads to another server; connections to the one before are closed");
        let timeline = if same_system {
            before.timeline.max(found.timeline)
        } else {
            found.timeline
        };
        *last = Some(Server { timeline, ..found });
        self.retire();
        Ok(())
    }
}

async fn identify(connection: &mut PgConnection) -> Result<Server, sqlx::Error> {
    sqlx::query_as!(
        Server,
        r#"SELECT (SELECT system_identifier FROM pg_control_system()) AS "system!", pg_is_in_recovery() AS "in_recovery!",
                  CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
                       ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
                  END AS "timeline!""#
    )
    .fetch_one(connection)
    .await
}

impl Database {
    /// A server that is stopped in order takes no new connections, and waits, for minutes, for those who are connected to leave; only then
    /// another takes over (cloudnative-pg/cloudnative-pg #2844). So they are closed as soon as one was refused.
    pub(super) fn leave_if_stopping(&self, error: &sqlx::Error) {
        if is_starting_or_stopping(error) {
            self.inner.failover.retire();
            self.close_retired();
        }
    }

    /// Closes idle connections that are not to be lent again.
    pub(super) fn close_retired(&self) {
        let inner = &self.inner;
        if !inner.failover.to_close.swap(false, Ordering::AcqRel) {
            return;
        }
        // One opened since may be among them, which costs opening another.
        for _ in 0..inner.max_connections {
            let Some(connection) = inner.pool.try_acquire() else {
                return;
            };
            drop(connection.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failover, Server};

    const PRIMARY: Server = Server {
        system: 1,
        timeline: 1,
        in_recovery: false,
    };

    /// After the first server, whether each is taken, and whether connections to the ones before are closed for it.
    fn follow(servers: &[Server]) -> Vec<(bool, bool)> {
        let failover = Failover::default();
        failover.note(PRIMARY).unwrap();
        let each = servers.iter().map(|server| {
            let taken = failover.note(*server).is_ok();
            let retired = !failover.keeps(Duration::from_mins(1));
            *failover.retired.lock().unwrap() = None;
            (taken, retired)
        });
        each.collect()
    }

    #[test]
    fn connections_to_the_server_before_are_closed_and_an_ended_history_is_refused() {
        let promoted = Server { timeline: 2, ..PRIMARY };
        let standby = Server {
            in_recovery: true,
            ..PRIMARY
        };
        let another = Server { system: 2, ..PRIMARY };
        assert_eq!(follow(&[PRIMARY, PRIMARY]), [(true, false), (true, false)]);
        // The one before comes back by itself.
        assert_eq!(
            follow(&[promoted, PRIMARY, promoted]),
            [(true, true), (false, false), (true, false)]
        );
        // Demoted, then the address follows.
        assert_eq!(
            follow(&[standby, promoted, PRIMARY]),
            [(true, true), (true, true), (false, false)]
        );
        // A standby knows of a promotion a little later.
        assert_eq!(
            follow(&[promoted, standby, PRIMARY]),
            [(true, true), (true, true), (false, false)]
        );
        assert_eq!(follow(&[promoted, another]), [(true, true), (true, true)]);
    }
}
