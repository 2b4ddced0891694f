//! `mapleai org`: what makes the first account of a service where nobody may register.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
};

use clap::Subcommand;
use secrecy::{ExposeSecret as _, SecretString};

use super::CliError;
use crate::app::{self, AppError};
use configuration::Config;
use crypto::secret::{self, NoEntropy};
use people::accounts::{AccountError, Registration};

/// Longest password read from standard input, in bytes; the service's own limit is below it.
const MAX_PASSWORD_BYTES: u64 = 4096;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum OrgCommand {
    /// Create an organisation with its owner, whether or not registration is open, and print how to sign in
    Create {
        /// The organisation's name
        #[arg(long)]
        name: String,
        /// The owner's e-mail address
        #[arg(long)]
        email: String,
        /// The owner's own name; the part of the address before the @ unless given
        #[arg(long)]
        owner: Option<String>,
        /// Take the password from standard input instead of making one and printing it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give somebody who has forgotten theirs another password, end their sessions, and print it
    ResetPassword {
        /// Whose, by e-mail address
        #[arg(long)]
        email: String,
        /// Take the password from standard input instead of making one and printing it
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OrgError {
    #[error("cannot read the password from standard input")]
    Input(#[source] io::Error),
    #[error("standard input has no password")]
    NoPassword,
    #[error("refused: {0}")]
    Refused(String),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

pub(super) async fn run(config: Config, command: &OrgCommand) -> Result<(), CliError> {
    let (OrgCommand::Create { password_stdin, .. } | OrgCommand::ResetPassword { password_stdin, .. }) = command;
    let password = if *password_stdin {
        read_password(io::stdin().lock())?
    } else {
        secret::readable_password().map_err(OrgError::from)?
    };
    let user = match command {
        OrgCommand::Create { name, email, owner, .. } => {
            let registration = Registration {
                email: email.clone(),
                password: password.clone(),
                name: owner.clone().unwrap_or_else(|| local_part(email).to_owned()),
                organization: name.clone(),
            };
            app::create_organization(config, registration).await
        }
        OrgCommand::ResetPassword { email, .. } => app::reset_password(config, email, password.clone()).await,
    }
    .map_err(with_faults)?;
    let organization = &user.organization;
    let mut text = format!(
        "organization  {}  {}\nuser          {}  {}\n",
        organization.id, organization.name, user.id, user.email
    );
    if !password_stdin {
        // The only place where it is ever shown.
        let password = password.expose_secret();
        let _ = writeln!(text, "password      {password}\nChange it after signing in.");
    }
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)
}

/// Creates the demo account in development, and says how to sign in with it.
pub(super) async fn seed(config: Config) -> Result<(), CliError> {
    let account = app::seed(config).await?;
    let text = format!("{} / {}\n", account.email, account.password.expose_secret());
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)
}

/// Says which arguments were refused, and what would be taken.
fn with_faults(error: AppError) -> CliError {
    let AppError::Account(AccountError::Invalid(faults)) = error else {
        return error.into();
    };
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("{} {}", fault.field, fault.message))
        .collect();
    OrgError::Refused(faults.join("; ")).into()
}

/// The first line, without its end: editors and `echo` add one.
fn read_password(input: impl io::Read) -> Result<SecretString, OrgError> {
    let mut text = String::new();
    input
        .take(MAX_PASSWORD_BYTES)
        .read_to_string(&mut text)
        .map_err(OrgError::Input)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(OrgError::NoPassword);
    }
    Ok(line.into())
}

fn local_part(email: &str) -> &str {
    email.split('@').next().unwrap_or(email)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::{local_part, read_password};

    #[test]
    fn a_password_is_the_first_line_of_what_is_given() {
        for given in ["correct horse", "correct horse\n", "correct horse\r\nmore\n"] {
            assert_eq!(
                read_password(given.as_bytes()).unwrap().expose_secret(),
                "correct horse"
            );
        }
        for given in ["", "\n"] {
            assert!(read_password(given.as_bytes()).is_err());
        }
    }

    #[test]
    fn an_owner_without_a_name_has_that_of_the_address() {
        assert_eq!(local_part("ada@maple.example"), "ada");
    }
}
