//! Merging the sources and refusing what is wrong with them, all of it at once.
//!
//! In order, later ones over earlier ones:
//!
//! 1. `default.toml` and `<environment>.toml` in `MAPLE_CONFIG_DIR` (`./config`), or their copies in the binary;
//! 2. in development, `.env.local` in the working directory, with the same names as the environment;
//! 3. environment variables: `MAPLE__SECTION__KEY`, `DATABASE_URL`, `REDIS_URL`, `PORT`, and in development
//!    `OPENAI_API_KEY` and `OPENAI_BASE_URL`. Two names of one key are a fault when they differ. With `_FILE` at its end a
//!    name stands for what is in a file, which wins.

pub(crate) mod check;
mod faults;
mod leaf;
pub(crate) mod path;
mod print;
pub(crate) mod schema;
mod secret_files;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod variables;
mod walk;

use config::{Value, ValueKind};

use self::{check::Check, path::Path, variables::Variables, walk::Walk};
use super::{Config, Environment, FIELDS};

pub use self::{
    faults::{ConfigFaults, Fault},
    sources::Sources,
};

/// A configuration without faults, with what is needed to show it.
pub struct Effective {
    pub config: Config,
    tree: tree::Table,
}

impl Config {
    /// The configuration that `sources` make, or everything that is wrong with them.
    pub fn load(sources: &Sources) -> Result<Self, ConfigFaults> {
        Effective::load(sources).map(|effective| effective.config)
    }
}

impl Effective {
    /// As [`Config::load`], keeping the origin of each value.
    pub fn load(sources: &Sources) -> Result<Self, ConfigFaults> {
        let mut walk = Walk::default();
        let loaded = Self::collect(sources, &mut walk);
        walk.faults.into_result(loaded)
    }

    /// Nothing only if a fault tells why.
    fn collect(sources: &Sources, walk: &mut Walk) -> Option<Self> {
        let environment = sources.environment(&mut walk.faults)?;
        let merged = merged(sources, environment, walk);
        let tree = walk.section(&Path::default(), FIELDS, &merged);
        let mut config: Config = match Value::new(None, tree.clone()).try_deserialize() {
            Ok(config) => config,
            // The walk leaves only what the structs take; this is a difference between them, which tests look for.
            Err(error) => {
                walk.faults
                    .unusable("configuration", format!("cannot be used: {error}"));
                return None;
            }
        };
        config.environment = environment;
        if !walk.incomplete {
            config.validate(&mut Check::new(environment, &mut walk.faults, &walk.seen));
        }
        Some(Self { config, tree })
    }
}

/// All sources laid over each other.
fn merged(sources: &Sources, environment: Environment, walk: &mut Walk) -> tree::Table {
    let faults = &mut walk.faults;
    let mut layers = sources.files(environment, faults);
    let dotenv = if environment.is_development() {
        sources.dotenv(faults)
    } else {
        Vec::new()
    };
    walk.incomplete = !faults.is_empty();
    let dotenv = secret_files::read(&dotenv, faults);
    let process = secret_files::read(&sources.environment_variables, faults);
    walk.incomplete |= !faults.is_empty();
    let all: Vec<(String, String)> = dotenv.pairs.iter().chain(&process.pairs).cloned().collect();
    let from_files = tree::merge(&layers, faults);
    layers.extend(variables::implied_provider(environment, &all, &from_files));

    let sets = [
        Variables {
            given: &dotenv,
            environment,
            origin: sources::dotenv_origin,
        },
        Variables {
            given: &process,
            environment,
            origin: str::to_owned,
        },
    ];
    for variables in sets {
        let below = tree::merge(&layers, faults);
        layers.push(variables.layer(FIELDS, &below, faults));
    }
    let mut merged = tree::merge(&layers, faults);
    if environment.is_development() {
        derive_public_url(&mut merged);
    }
    merged
}

/// In development `PORT=3001` alone is enough: links lead to the port that is listened on.
fn derive_public_url(merged: &mut tree::Table) {
    let keys = ["server", "public_url"];
    let section = merged
        .get("server")
        .is_none_or(|server| matches!(server.kind, ValueKind::Table(_)));
    if !section || tree::get(merged, &keys).is_some_and(|value| value.kind != ValueKind::Nil) {
        return;
    }
    // A port that is no number has a fault of its own.
    let port = match tree::get(merged, &["server", "port"]).map(|value| &value.kind) {
        Some(ValueKind::I64(port)) => u16::try_from(*port).unwrap_or_default(),
        _ => 0,
    };
    let url = format!("http://localhost:{port}");
    tree::set(
        merged,
        &keys,
        Value::new(Some(&"derived from server.port".to_owned()), url),
    );
}
