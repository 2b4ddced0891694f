//! How a connection is opened, and the limits that the server keeps for its session.
//!
//! Nothing but the usual goes into the startup message: PgBouncer turns away a client that sends `options` there
//! (pgbouncer/pgbouncer #525, #907), and drops them where it is told to ignore them. So the limits are set once the
//! connection is there. In front of a pooler in transaction mode the next transaction may run in another of the server's
//! sessions: there the limits belong to the role (docs/DEPLOYMENT.md), and where the role has them nothing is set here, so
//! that no session is changed that others use.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{PgConnection, postgres::PgConnectOptions};

use super::Database;
use crate::error::{StoreError, Unavailable};

/// What the server says of the sessions that we are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Two connections of ours were served by one session: a pooler in transaction mode stands between.
    pub shared: bool,
    /// The longest statement that the server lets a session of this role run from its start; none is no limit.
    pub statement_timeout: Option<Duration>,
}

/// What every connection of the service is made with.
pub(super) fn connect_options(url: &SecretString) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    Ok(options.application_name("mapleai"))
}

/// Has the server end statements that run longer than `statement_timeout`, and those whose client is gone, unless its role
/// sees to that already. One statement, and so one transaction.
pub(super) async fn set_limits(connection: &mut PgConnection, statement_timeout: Duration) -> Result<(), sqlx::Error> {
    let limit = i32::try_from(statement_timeout.as_millis()).unwrap_or(i32::MAX);
    sqlx::query!(
        "SELECT set_config(name, CASE name WHEN 'statement_timeout' THEN $1::int ELSE 1000 END::text, false)
         FROM pg_settings
         WHERE (name = 'statement_timeout' AND setting::int NOT BETWEEN 1 AND $1)
            OR (name = 'client_connection_check_interval' AND setting = '0')",
        limit
    )
    .fetch_all(connection)
    .await
    .map(|_| ())
}

/// For a session of our own, whose statements may take as long as they do.
pub(super) async fn lift_limits(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT set_config('statement_timeout', '0', false)")
        .fetch_one(connection)
        .await
        .map(|_| ())
}

impl Database {
    /// Whether sessions of the server are ours for as long as our connections, and what limits them from their start.
    pub async fn sessions(&self) -> Result<Sessions, StoreError> {
        let limit = self.inner.connect_timeout;
        let look = async {
            let (mut first, mut second) = (self.open_apart().await?, self.open_apart().await?);
            let mut shared = false;
            for _ in 0..2 {
                shared |= backend(&mut first).await? == backend(&mut second).await?;
            }
            let milliseconds = sqlx::query_scalar!(
                r#"SELECT reset_val::int AS "ms!" FROM pg_settings WHERE name = 'statement_timeout'"#
            )
            .fetch_one(&mut first)
            .await?;
            let statement_timeout = u64::try_from(milliseconds).ok().filter(|limit| *limit > 0);
            Ok(Sessions {
                shared,
                statement_timeout: statement_timeout.map(Duration::from_millis),
            })
        };
        match tokio::time::timeout(2 * limit, look).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(2 * limit))),
        }
    }
}

/// The server's process behind a connection, as it is for one transaction.
async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "pid!""#)
        .fetch_one(connection)
        .await
}
