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

use config::Value;

use self::{
    check::{Check, Given},
    path::Path,
    tree::{Layer, table_of},
    variables::Variable,
};
use super::{Config, FIELDS};

pub use self::{check::ConfigFaults, sources::Sources};

/// A configuration without faults, with what is needed to show it.
pub struct Effective {
    pub config: Config,
    given: Vec<Given>,
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
        let environment = sources.environment()?;
        let mut check = Check::new(environment);
        let merged = merged(sources, &mut check);
        let checked = check.section(&Path::default(), FIELDS, &merged);
        let config = match Value::new(None, checked).try_deserialize() {
            Ok(config) => Some(Config { environment, ..config }),
            // The walk leaves only what the structs take; this is a difference between them, which tests look for.
            Err(error) => {
                check.unusable("configuration", format!("cannot be used: {error}"));
                None
            }
        };
        if let Some(config) = config.as_ref().filter(|_| !check.incomplete) {
            config.validate(&mut check);
        }
        let (config, given) = check.into_result(config)?;
        Ok(Self { config, given })
    }
}

/// All sources laid over each other.
fn merged(sources: &Sources, check: &mut Check) -> tree::Table {
    let in_development = check.environment().is_development();
    let mut sets = vec![variables::read(&sources.environment_variables, "", check)];
    if in_development {
        sets.insert(0, sources.dotenv(check));
    }
    let mut layers = Vec::new();
    if in_development {
        layers.extend(implied_provider(&sets, check));
    }
    layers.extend(sources.files(check));
    check.incomplete = !check.is_empty();
    let mut merged = tree::merge(layers, check);
    for variables in sets {
        let above = variables::layers(&variables, &Value::new(None, merged.clone()), check);
        merged = tree::merge([vec![Layer(merged)], above].concat(), check);
    }
    if in_development {
        // `PORT=3001` alone is enough: links lead to the port that is listened on.
        let port = merged.get("server").and_then(|server| table_of(server)?.get("port"));
        // A port that is no number has a fault of its own.
        let port = port.and_then(|port| u16::try_from(port.clone().into_int().ok()?).ok());
        let below = format!(
            "[server]\npublic_url = \"http://localhost:{}\"",
            port.unwrap_or_default()
        );
        let below = sources::toml("derived from server.port", &below, check);
        merged = tree::merge(below.into_iter().chain([Layer(merged)]).collect(), check);
    }
    merged
}

/// What `OPENAI_API_KEY` or `OPENAI_BASE_URL` imply in development: a provider `openai` with all models it tells of. Lies
/// under the files, and so fills in only what they leave open.
fn implied_provider(sets: &[Vec<Variable>], check: &mut Check) -> Option<Layer> {
    let given = sets.iter().flatten().filter(|variable| !variable.text.is_empty());
    let cause = ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
        .into_iter()
        .find(|name| given.clone().any(|variable| variable.name == *name))?;
    let implied =
        "[providers.openai]\nkind = \"openai\"\nbase_url = \"https://api.openai.com/v1\"\ndiscover_models = true";
    sources::toml(&format!("implied by {cause}"), implied, check)
}
