//! The composition root: configuration in, running service out.

pub mod build;
mod core_dumps;
mod descriptors;
pub mod doctor;
mod gauges;
pub mod listener;
pub mod local_servers;
pub mod migrate;
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
use store::{Database, StoreError, migrations::MigrationError};

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
    #[error("the migration is refused")]
    MigrationRefused(#[from] migrate::Refused),
    #[error("cannot seed the development account")]
    Seed(#[from] seed::SeedError),
    #[error("the demo account is for development only")]
    SeedOutsideDevelopment,
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

/// Creates the development account if it is not there, in a database that is development's own.
pub async fn seed(config: Config) -> Result<seed::DemoAccount, AppError> {
    if !config.environment.has_demo_account() {
        return Err(AppError::SeedOutsideDevelopment);
    }
    let database = Database::new(&config.database)?;
    database.admit(config.environment).await?;
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
