//! Taking up another connection URL, such as one with a new password, while requests are served.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Database, PROBE_LIMIT};
use crate::store::error::{StoreError, Unavailable};

/// What every connection of the service is made with.
pub(super) fn connect_options(url: &SecretString, statement_timeout: Duration) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let milliseconds = statement_timeout.as_millis().to_string();
    Ok(options
        .application_name("mapleai")
        .options([("statement_timeout", milliseconds.as_str())]))
}

impl Database {
    /// Connects with `url` from now on. Connections that are lent out finish their work and are then closed.
    ///
    /// The URL is tried first: one that leads nowhere leaves everything as it is, and is an error.
    pub async fn rotate(&self, url: &SecretString) -> Result<(), StoreError> {
        let options = connect_options(url, self.0.statement_timeout)?;
        let attempt = async { PgConnection::connect_with(&options).await?.close().await };
        match tokio::time::timeout(PROBE_LIMIT, attempt).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(Unavailable::Connection(error)))?,
            Err(_) => return Err(StoreError::Unavailable(Unavailable::NoAnswer(PROBE_LIMIT))),
        }
        self.0.pool.set_connect_options(options);
        *self.0.rotated.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        // If it was away for us, it need not be any longer.
        self.0.changed.notify_one();
        Ok(())
    }
}
