//! The mark that tells development's own databases from all others, with the demo account's password.
//!
//! It is a table that no migration makes: development makes it in a database that it finds empty, before anything else, so that
//! a process with another environment's URL finds none there.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::Connection as _;

use super::{Database, StoreError, timed_query};

/// Whether development may do as it likes with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is marked, or was empty and is marked now.
    Ours,
    /// It has tables, and no mark.
    Foreign,
}

impl Database {
    pub async fn claim_for_development(&self) -> Result<Claim, StoreError> {
        let mut connection = self.checkout().await?;
        let outcome = self
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let found = sqlx::query!(
                    r#"SELECT to_regclass('mapleai_development') IS NOT NULL AS "marked!",
                              EXISTS (SELECT FROM pg_class
                                      WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(current_schema())) AS "has_tables!""#
                )
                .fetch_one(&mut *transaction)
                .await?;
                if !found.marked {
                    if found.has_tables {
                        return Ok(Claim::Foreign);
                    }
                    sqlx::query!("CREATE TABLE IF NOT EXISTS mapleai_development (demo_password text)")
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(Claim::Ours)
            })
            .await;
        connection.settle(outcome)
    }

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
