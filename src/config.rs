//! What an operator may set: one struct per section, plain data, no behaviour.
//!
//! [`load`] merges the sources in their documented order, refuses unknown keys and reports every fault at once.
//! Each module is handed its own section, never the whole.

pub mod auth;
pub mod database;
pub mod environment;
pub mod load;
pub mod log;
pub mod providers;
pub mod server;
pub mod usage;

use serde::Deserialize;

pub use auth::AuthConfig;
pub use database::{DatabaseConfig, RedisConfig};
pub use environment::Environment;
pub use log::LogConfig;
pub use providers::{ModelConfig, ModelKind, ProviderConfig, ProviderKind};
pub use server::ServerConfig;
pub use usage::UsageConfig;

/// The effective configuration of one process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// From `MAPLE_ENV`; not a key of any file.
    #[serde(skip)]
    pub environment: Environment,
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    #[serde(default)]
    pub redis: RedisConfig,
    pub auth: AuthConfig,
    pub usage: UsageConfig,
    pub log: LogConfig,
    /// Provider name -> how to reach it.
    #[serde(default)]
    pub providers: std::collections::BTreeMap<String, ProviderConfig>,
    /// The catalogue. A file that sets `models` replaces the list of the files before it.
    #[serde(default)]
    pub models: Vec<ModelConfig>,
}
