//! The composition root: configuration in, running service out.

pub mod build;
pub mod doctor;
pub mod listener;
mod observe;
pub mod ops;
mod prepare;
pub mod rotation;
pub mod seed;
pub mod server;

use crate::{
    config::{Config, load::Sources},
    crypto::{password::PasswordError, signing_keys::SigningKeys},
    lifecycle::{Broken, Lifecycle, Signals},
    provider::registry::ProviderSetupError,
    service::health::Databases,
    store::{Database, StoreError, migrations, migrations::MigrationError},
    telemetry,
};
pub use server::Server;

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
    #[error("cannot set up Redis")]
    Redis(#[from] crate::cache::redis::RedisError),
    #[error(transparent)]
    Traces(#[from] telemetry::traces::TracesError),
    #[error("cannot set up metrics")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("cannot render the OpenAPI document")]
    Document(#[from] serde_json::Error),
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    #[error("cannot warm up")]
    WarmUp(#[from] crate::service::api_keys::ApiKeyError),
    #[error("cannot migrate the database")]
    Migration(#[from] MigrationError),
    #[error("cannot seed the development account")]
    Seed(#[from] seed::SeedError),
    #[error("the demo account is for development only; its password is public")]
    SeedOutsideDevelopment,
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Runs the service until it is told to stop.
///
/// `sources` are what `config` was loaded from: files of secrets among them are watched.
pub async fn serve(config: Config, sources: Sources) -> Result<(), AppError> {
    let metrics = telemetry::metrics::install()?;
    let mut signals = Signals::listen()?;
    let server = Server::start(config, metrics, sources).await?;
    let asked = signals.stop_requested(server.lifecycle()).await;
    let failure = server.failure();
    tokio::select! {
        () = server.stop() => {}
        () = signals.next() => {
            tracing::warn!(target: "mapleai::lifecycle", "a second signal: ending at once");
            return Err(AppError::Interrupted);
        }
    }
    match failure.take() {
        Some(error) => Err(error),
        None => Ok(asked?),
    }
}

/// Applies what the database lacks.
pub async fn migrate(config: Config) -> Result<(), AppError> {
    let database = Database::new(&config.database)?;
    migrations_apply(database).await
}

async fn migrations_apply(database: Database) -> Result<(), AppError> {
    migrations::apply(&database).await?;
    tracing::info!(target: "mapleai::lifecycle", "database is migrated");
    Ok(())
}

/// Creates the development account if it is not there.
pub async fn seed(config: Config) -> Result<(), AppError> {
    if !config.environment.has_demo_account() {
        return Err(AppError::SeedOutsideDevelopment);
    }
    let lifecycle = Lifecycle::default();
    let database = Database::new(&config.database)?;
    let registry = std::sync::Arc::new(crate::provider::Registry::build(
        &config.providers,
        &config.models,
        config.cache.answers,
    )?);
    let clock = crate::domain::clock::Clock::system();
    // One short-lived process: there is nobody whose memory it could share.
    let caches = build::caches(&config, None, &clock, &lifecycle);
    let keys = signing_keys(&config)?;
    let databases = Databases {
        primary: database,
        replicas: Vec::new(),
    };
    let services = build::services(
        &config, &databases, &keys, &caches, registry, &clock, &lifecycle, None, None,
    )?;
    seed::development_account(&services.accounts).await?;
    Ok(())
}

/// Those of the configuration, which has been checked: the error is for callers that made one by hand.
fn signing_keys(config: &Config) -> Result<SigningKeys, AppError> {
    let auth = &config.auth;
    SigningKeys::new(&auth.signing_keys, &auth.active_key).ok_or_else(|| AppError::NoActiveKey(auth.active_key.clone()))
}
