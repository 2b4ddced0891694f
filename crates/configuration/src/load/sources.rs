//! Where configuration is read from: files, `.env.local` and the environment. Nothing else reads any of them.

use std::{
    fs, io,
    path::{Path as FilePath, PathBuf},
};

use config::{FileFormat, Format};

use super::{faults::Faults, tree::Layer};
use crate::Environment;

pub(super) const ENVIRONMENT: &str = "MAPLE_ENV";
pub(super) const DIRECTORY: &str = "MAPLE_CONFIG_DIR";
const DEFAULT_DIRECTORY: &str = "config";
const DOTENV: &str = ".env.local";

/// What a process reads its configuration from. No `Debug`: variables hold secrets.
#[derive(Clone, Default)]
pub struct Sources {
    pub environment_variables: Vec<(String, String)>,
    /// The TOML files. A file that is not there is taken from the copies in the binary.
    pub directory: PathBuf,
    /// Where `.env.local` is looked for.
    pub dotenv_dir: PathBuf,
}

impl Sources {
    /// Those of this process: its environment, `MAPLE_CONFIG_DIR` and the working directory.
    pub fn from_process() -> Self {
        // Not UTF-8 is told later, by the replacement character, and only of variables that are read.
        let environment_variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect();
        let directory = environment_variables
            .iter()
            .find(|(name, _)| name == DIRECTORY)
            .map_or(DEFAULT_DIRECTORY, |(_, value)| value.as_str());
        Self {
            directory: PathBuf::from(directory),
            environment_variables,
            dotenv_dir: PathBuf::from("."),
        }
    }

    /// The files that variables of the process name as the place of their value.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        self.environment_variables
            .iter()
            .filter(|(name, path)| super::secret_files::stands_for(name).is_some() && !path.is_empty())
            .map(|(_, path)| PathBuf::from(path))
            .collect()
    }

    /// The last one wins, as in a process's own environment.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment_variables
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// `MAPLE_ENV`. Nothing else can be read without it, so that a fault here stands alone.
    pub(super) fn environment(&self, faults: &mut Faults) -> Option<Environment> {
        let Some(given) = self.variable(ENVIRONMENT) else {
            return Some(Environment::default());
        };
        let environment = Environment::ALL
            .into_iter()
            .find(|environment| environment.as_str() == given);
        if environment.is_none() {
            let allowed = Environment::ALL
                .map(|environment| format!("\"{}\"", environment.as_str()))
                .join(", ");
            let shown = super::path::quoted_text(&given.chars().take(40).collect::<String>());
            faults.unusable(
                ENVIRONMENT,
                format!("{shown} is not an environment; must be one of {allowed}"),
            );
        }
        environment
    }

    /// `default.toml` and the environment's own file.
    pub(super) fn files(&self, environment: Environment, faults: &mut Faults) -> Vec<Layer> {
        // A directory that somebody named should be there; the usual one need not.
        if self.variable(DIRECTORY).is_some() && !self.directory.is_dir() {
            faults.unusable(
                DIRECTORY,
                format!(
                    "\"{}\" is not a directory; must be one that holds default.toml",
                    self.directory.display()
                ),
            );
            return Vec::new();
        }
        let own = match environment {
            Environment::Development => include_str!("../../../../config/development.toml"),
            Environment::Staging => include_str!("../../../../config/staging.toml"),
            Environment::Production => include_str!("../../../../config/production.toml"),
        };
        [
            ("default", include_str!("../../../../config/default.toml")),
            (environment.as_str(), own),
        ]
        .into_iter()
        .filter_map(|(stem, built_in)| self.file(stem, built_in, faults))
        .collect()
    }

    fn file(&self, stem: &str, built_in: &str, faults: &mut Faults) -> Option<Layer> {
        let path = self.directory.join(stem).with_extension("toml");
        let (origin, text) = match fs::read_to_string(&path) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) if is_absent(&error) => (format!("built-in {stem}.toml"), built_in.to_owned()),
            Err(error) => {
                faults.unusable(path.display().to_string(), format!("cannot be read: {error}"));
                return None;
            }
        };
        match FileFormat::Toml.parse(Some(&origin), &text) {
            Ok(table) => Some(Layer(table)),
            Err(error) => {
                faults.unusable(origin, without_excerpt(&error.to_string()));
                None
            }
        }
    }

    /// The variables of `.env.local`, which may be missing.
    pub(super) fn dotenv(&self, faults: &mut Faults) -> Vec<(String, String)> {
        let path = self.dotenv_dir.join(DOTENV);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Vec::new(),
            Err(error) => {
                faults.unusable(path.display().to_string(), format!("cannot be read: {error}"));
                return Vec::new();
            }
        };
        parse_dotenv(&path, &text, faults)
    }
}

/// `.env.local` as the origin of a variable's value.
pub(super) fn dotenv_origin(name: &str) -> String {
    format!("{DOTENV}: {name}")
}

fn parse_dotenv(path: &FilePath, text: &str, faults: &mut Faults) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        match entry {
            Ok((name, _)) if name == ENVIRONMENT || name == DIRECTORY => {
                faults.unusable(
                    path.display().to_string(),
                    format!("{name} must be set in the environment, not here"),
                );
            }
            Ok(variable) => variables.push(variable),
            // The error's own text repeats the line, which may hold a secret.
            Err(dotenvy::Error::LineParse(line, _)) => {
                let line = line.lines().next().unwrap_or_default().trim();
                let number = text
                    .lines()
                    .position(|candidate| candidate.trim() == line)
                    .map_or(0, |at| at + 1);
                faults.unusable(
                    path.display().to_string(),
                    format!("line {number} must have the form NAME=value"),
                );
            }
            Err(error) => {
                faults.unusable(path.display().to_string(), format!("cannot be read: {error}"));
                break;
            }
        }
    }
    variables
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The TOML parser quotes the line it stumbled over, which may hold a secret: position and reason are kept.
fn without_excerpt(error: &str) -> String {
    let kept: Vec<&str> = error
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'))
        .collect();
    kept.join(": ")
}
