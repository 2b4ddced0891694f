//! The development account. Its password is the database's own: one that everybody knows would let any web page that a
//! developer visits sign in.

use secrecy::SecretString;

use crypto::secret::{self, NoEntropy};
use people::accounts::{AccountError, Accounts, Registration};
use store::{Database, StoreError};

/// Whom `make run` prints.
const EMAIL: &str = "demo@maple.example";

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// How to sign in.
pub struct DemoAccount {
    pub email: &'static str,
    pub password: SecretString,
}

/// Makes the account unless it is there. One that is there with a password that was never kept, as earlier versions made it,
/// is given one.
pub async fn development_account(database: &Database, accounts: &Accounts) -> Result<DemoAccount, SeedError> {
    let kept = database.demo_password().await?;
    let password = match &kept {
        Some(password) => password.clone(),
        None => database.keep_demo_password(secret::readable_password()?).await?,
    };
    let registration = Registration {
        email: EMAIL.to_owned(),
        password: password.clone(),
        name: "Demo".to_owned(),
        organization: "Demo".to_owned(),
    };
    match accounts.create_organization(registration).await {
        Ok(_) => {}
        Err(AccountError::EmailTaken) => {
            if kept.is_none() {
                accounts.reset_password(EMAIL, password.clone()).await?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(DemoAccount { email: EMAIL, password })
}
