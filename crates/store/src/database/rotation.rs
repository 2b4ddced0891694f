//! Taking up another connection URL, such as one with a new password, while requests are served.

use secrecy::SecretString;
use sqlx::{Connection as _, PgConnection};

use super::{Database, session::connect_options};
use crate::error::{StoreError, Unavailable};

impl Database {
    /// Connects with `url` from now on. Connections that are lent out finish their work and are then closed.
    ///
    /// The URL is tried first: one that leads nowhere leaves everything as it is, and is an error.
    pub async fn rotate(&self, url: &SecretString) -> Result<(), StoreError> {
        let options = connect_options(url)?;
        let limit = self.inner.connect_timeout;
        let attempt = async { PgConnection::connect_with(&options).await?.close().await };
        match tokio::time::timeout(limit, attempt).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(Unavailable::Connection(error)))?,
            Err(_) => return Err(StoreError::Unavailable(Unavailable::NoAnswer(limit))),
        }
        self.inner.pool.set_connect_options(options);
        self.inner.failover.retire();
        // If it was away for us, it need not be any longer.
        self.inner.changed.notify_one();
        Ok(())
    }
}
