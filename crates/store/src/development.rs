//! Development's own table, with the demo account's password.
//!
//! No migration makes it: development does, in databases of its own. It told them from all others before databases said of
//! which environment they are, and still does where they do not.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection};

use super::{Database, StoreError, timed_query};

/// Makes the table. The rules of whose a database is are [`crate::migrations::deployment`]'s.
pub(crate) async fn mark(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("CREATE TABLE IF NOT EXISTS mapleai_development (demo_password text)")
        .execute(connection)
        .await
        .map(|_| ())
}

impl Database {
    /// The demo account's password, if it has been given one here. The table is development's: no compile-time check.
    pub async fn demo_password(&self) -> Result<Option<SecretString>, StoreError> {
        let found: Option<Option<String>> = timed_query!(
            self,
            sqlx::query_scalar("SELECT demo_password FROM mapleai_development LIMIT 1"),
            fetch_optional
        )?;
        Ok(found.flatten().map(SecretString::from))
    }

    /// Remembers it, unless another process has been first: gives the one that counts.
    pub async fn keep_demo_password(&self, password: SecretString) -> Result<SecretString, StoreError> {
        let mut connection = self.checkout().await?;
        let outcome = self
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                sqlx::query("LOCK TABLE mapleai_development")
                    .execute(&mut *transaction)
                    .await?;
                let found: Option<String> = sqlx::query_scalar(
                    "SELECT demo_password FROM mapleai_development WHERE demo_password IS NOT NULL LIMIT 1",
                )
                .fetch_optional(&mut *transaction)
                .await?;
                if found.is_none() {
                    sqlx::query("INSERT INTO mapleai_development (demo_password) VALUES ($1)")
                        .bind(password.expose_secret())
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(found.map_or(password, SecretString::from))
            })
            .await;
        connection.settle(outcome)
    }
}
