//! The composition root: configuration in, running service out.

pub mod build;
mod core_dumps;
mod descriptors;
pub mod doctor;
mod gauges;
pub mod listener;
pub mod local_servers;
pub mod ops;
mod prepare;
pub mod rotation;
pub mod seed;
pub mod server;

use secrecy::SecretString;

use crate::lifecycle::{Broken, Lifecycle, Signals};
use crate::service::{Services, health::Databases};
use configuration::{Config, load::Sources};
use crypto::{password::PasswordError, signing_keys::SigningKeys};
use domain::account::User;
use people::accounts::{AccountError, Registration};
use provider::registry::ProviderSetupError;
pub use server::Server;
use store::{
    Database, Replicas, Store, StoreError, development::Claim, migrations, migrations::MigrationError,
    replica::PrimaryMarker,
};

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot start the operations listener")]
    OpsRuntime(#[source] std::io::Error),
    #[error("the database could not be reached within {waited:?}")]
    NoDatabase {
        waited: std::time::Duration,
        #[source]
        source: StoreError,
    },
    #[error("migrating panicked")]
    Preparation,
    #[error("told to end at once by a second signal")]
    Interrupted,
    #[error("cannot set up a provider")]
    Provider(#[from] ProviderSetupError),
    #[error("no signing key is named {0:?}")]
    NoActiveKey(String),
    #[error("cannot set up password hashing")]
    Passwords(#[from] PasswordError),
    #[error("cannot derive the key that seals the caches")]
    Sealer,
    #[error("cannot set up Redis")]
    Redis(#[from] cache::redis::RedisError),
    #[error(transparent)]
    Traces(#[from] telemetry::traces::TracesError),
    #[error("cannot set up metrics")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("cannot render the OpenAPI document")]
    Document(#[from] serde_json::Error),
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    #[error("cannot warm up")]
    WarmUp(#[from] people::api_keys::ApiKeyError),
    #[error("migrating was given up after database.migrate_timeout, {0:?}; it may be tried again")]
    MigrationLimit(std::time::Duration),
    #[error("cannot migrate the database")]
    Migration(#[from] MigrationError),
    #[error("cannot seed the development account")]
    Seed(#[from] seed::SeedError),
    #[error("the demo account is for development only")]
    SeedOutsideDevelopment,
    #[error(
        "the database at {0} is not development's own: it has tables, and not the mark that development gives to databases that it \
         finds empty. Development migrates and seeds no other. Unset DATABASE_URL for a private one, set MAPLE_ENV to what this \
         database is for, or, to hand it over to development, run in it: CREATE TABLE mapleai_development (demo_password text)"
    )]
    NotDevelopments(String),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Runs the service until it is told to stop.
///
/// `sources` are what `config` was loaded from: files of secrets among them are watched.
pub async fn serve(config: Config, sources: Sources) -> Result<(), AppError> {
    // Developers look at them.
    if !config.environment.is_development() {
        core_dumps::forbid();
    }
    let metrics = telemetry::metrics::install()?;
    let mut signals = Signals::listen()?;
    let server = Box::pin(Server::start(config, metrics, sources)).await?;
    let asked = signals.stop_requested(server.lifecycle()).await;
    let failure = server.failure();
    let usage = server.services().usage.clone();
    tokio::select! {
        () = server.stop() => {}
        () = signals.next() => {
            tracing::warn!(target: "mapleai::lifecycle", "a second signal: ending at once");
            usage.mark_calls().await;
            return Err(AppError::Interrupted);
        }
    }
    match failure.take() {
        Some(error) => Err(error),
        None => Ok(asked?),
    }
}

/// Applies what the database lacks. In development only to a database of its own.
pub async fn migrate(config: Config) -> Result<(), AppError> {
    let database = Database::new(&config.database)?;
    let limit = config.database.migrate_timeout;
    let migrating = async {
        if config.environment.is_development() {
            claim_for_development(&database).await?;
        }
        migrations_apply(database).await
    };
    tokio::time::timeout(limit, migrating)
        .await
        .unwrap_or(Err(AppError::MigrationLimit(limit)))
}

/// Development is what a process runs as that nobody told otherwise, perhaps with another environment's DATABASE_URL.
async fn claim_for_development(database: &Database) -> Result<(), AppError> {
    match database.claim_for_development().await? {
        Claim::Ours => Ok(()),
        Claim::Foreign => Err(AppError::NotDevelopments(database.address())),
    }
}

async fn migrations_apply(database: Database) -> Result<(), AppError> {
    migrations::apply(&database).await?;
    let accounts = Store::new(&database, &Replicas::default()).accounts;
    let refolded = accounts
        .refold_emails(domain::clock::Clock::system().now())
        .await
        .map_err(MigrationError::Store)?;
    for user in &refolded.collisions {
        tracing::warn!(target: "mapleai::lifecycle", user_id = %user, "the e-mail address of this account is another account's in another spelling; neither is changed, and one of them should be removed");
    }
    tracing::info!(target: "mapleai::lifecycle", addresses = refolded.changed, "database is migrated");
    Ok(())
}

/// Creates the development account if it is not there, in a database that is development's own.
pub async fn seed(config: Config) -> Result<seed::DemoAccount, AppError> {
    if !config.environment.has_demo_account() {
        return Err(AppError::SeedOutsideDevelopment);
    }
    let database = Database::new(&config.database)?;
    claim_for_development(&database).await?;
    let services = command_services(&config, &database)?;
    Ok(seed::development_account(&database, &services.accounts).await?)
}

/// Creates an organisation with its owner, whether or not registration is open.
pub async fn create_organization(config: Config, registration: Registration) -> Result<User, AppError> {
    let database = Database::new(&config.database)?;
    let services = command_services(&config, &database)?;
    Ok(services.accounts.create_organization(registration).await?.user)
}

/// Gives an account another password, and ends its sessions.
pub async fn reset_password(config: Config, email: &str, password: SecretString) -> Result<User, AppError> {
    let database = Database::new(&config.database)?;
    let services = command_services(&config, &database)?;
    Ok(services.accounts.reset_password(email, password).await?)
}

/// The services of a short-lived process: there is nobody whose memory it could share.
fn command_services(config: &Config, database: &Database) -> Result<Services, AppError> {
    let lifecycle = Lifecycle::default();
    let registry = std::sync::Arc::new(provider::Registry::build(
        &config.providers,
        &config.models,
        config.cache.answers,
    )?);
    let clock = domain::clock::Clock::system();
    let keys = signing_keys(config)?;
    let caches = build::caches(config, None, &keys, &clock, &lifecycle)?;
    let databases = Databases {
        primary: database.clone(),
        replicas: Vec::new(),
        marker: PrimaryMarker::default(),
    };
    build::services(
        config, &databases, &keys, &caches, registry, &clock, &lifecycle, None, None,
    )
}

/// Those of the configuration, which has been checked: the error is for callers that made one by hand.
fn signing_keys(config: &Config) -> Result<SigningKeys, AppError> {
    let auth = &config.auth;
    SigningKeys::new(&auth.signing_keys, &auth.active_key).ok_or_else(|| AppError::NoActiveKey(auth.active_key.clone()))
}
