//! What an operator may set: one struct per section, plain data, no behaviour.
//!
//! [`load`] merges the sources in their documented order, refuses unknown keys and reports every fault at once.
//! Each module is handed its own section, never the whole.

pub mod admission;
pub mod auth;
pub mod cache;
pub mod database;
pub mod environment;
pub mod limits;
pub mod load;
pub mod local;
pub mod log;
pub mod migrations;
pub mod models;
pub mod providers;
pub mod retention;
pub mod server;
pub mod traces;
pub mod usage;

use serde::Deserialize;

pub use admission::AdmissionConfig;
pub use auth::AuthConfig;
pub use cache::{AnswerCaching, CacheConfig};
pub use database::{DatabaseConfig, RedisConfig, RedisMode};
pub use environment::Environment;
pub use limits::LimitsConfig;
pub use local::{LocalConfig, LocalProduct, LocalServer};
pub use log::LogConfig;
pub use migrations::MigrationsConfig;
pub use models::{ModelConfig, ModelKind};
pub use providers::{Http2, ProviderConfig, ProviderKind};
pub use retention::RetentionConfig;
pub use server::ServerConfig;
pub use traces::TracesConfig;
pub use usage::{LARGEST_BATCH, UsageConfig};

use load::{
    check::Check,
    path::Path,
    schema::{Field, Kind, optional, required},
};

/// The effective configuration of one process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// From `MAPLE_ENV`; not a key of any file.
    #[serde(skip)]
    pub environment: Environment,
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub migrations: MigrationsConfig,
    pub redis: RedisConfig,
    pub cache: CacheConfig,
    pub auth: AuthConfig,
    pub admission: AdmissionConfig,
    pub limits: LimitsConfig,
    pub usage: UsageConfig,
    pub retention: RetentionConfig,
    pub log: LogConfig,
    pub traces: TracesConfig,
    pub local: LocalConfig,
    /// Provider name -> how to reach it.
    #[serde(default)]
    pub providers: std::collections::BTreeMap<String, ProviderConfig>,
    /// The catalogue. A file that sets `models` replaces the list of the files before it.
    #[serde(default)]
    pub models: Vec<ModelConfig>,
}

/// What a configuration may contain. Each section's table stands beside its struct.
const FIELDS: &[Field] = &[
    required("server", Kind::Section(server::FIELDS)),
    required("database", Kind::Section(database::FIELDS)),
    required("migrations", Kind::Section(migrations::FIELDS)),
    required("redis", Kind::Section(database::REDIS_FIELDS)),
    required("cache", Kind::Section(cache::FIELDS)),
    required("auth", Kind::Section(auth::FIELDS)),
    required("admission", Kind::Section(admission::FIELDS)),
    required("limits", Kind::Section(limits::FIELDS)),
    required("usage", Kind::Section(usage::FIELDS)),
    required("retention", Kind::Section(retention::FIELDS)),
    required("log", Kind::Section(log::FIELDS)),
    required("traces", Kind::Section(traces::FIELDS)),
    required("local", Kind::Section(local::FIELDS)),
    optional("providers", Kind::Map(providers::FIELDS)),
    optional("models", Kind::List(models::FIELDS)),
];

impl Config {
    /// The rules between keys and those that depend on the environment; single values have been checked before.
    fn validate(&self, check: &mut Check) {
        self.server.validate(self.usage.stop_timeout, check);
        self.database.validate(check);
        self.redis.validate(check);
        self.cache.validate(check);
        self.auth.validate(check);
        self.admission.validate(check);
        self.usage.validate(check);
        self.log.validate(check);
        self.local.validate(check);
        for (name, provider) in &self.providers {
            provider.validate(&Path::from(["providers", name]), check);
        }
        models::validate(&self.models, &self.providers, check);
    }
}
