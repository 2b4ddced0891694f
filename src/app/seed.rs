//! The development account.

use crate::service::accounts::{AccountError, Accounts, Registration};

/// Printed by `make run`, and refused by no one: it exists in development only.
pub const EMAIL: &str = "demo@maple.example";
pub const PASSWORD: &str = "maple-demo-password";

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SeedError(#[from] AccountError);

pub async fn development_account(accounts: &Accounts) -> Result<(), SeedError> {
    let registration = Registration {
        email: EMAIL.to_owned(),
        password: PASSWORD.into(),
        name: "Demo".to_owned(),
        organization: "Demo".to_owned(),
    };
    match accounts.create_organization(registration).await {
        Ok(_) | Err(AccountError::EmailTaken) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
