//! Where configuration is read from: files, `.env.local` and the environment. Nothing else reads any of them.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path as FilePath, PathBuf},
};

use config::{FileFormat, Format};

use super::{
    check::{Check, ConfigFaults},
    path::quoted_text,
    secret_files,
    tree::Layer,
    variables::{self, Variable},
};
use crate::Environment;

const ENVIRONMENT: &str = "MAPLE_ENV";
const DIRECTORY: &str = "MAPLE_CONFIG_DIR";
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
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.to_string_lossy().into()));
        let mut sources = Self {
            environment_variables: std::env::vars_os().filter_map(text).collect(),
            directory: PathBuf::from(DEFAULT_DIRECTORY),
            dotenv_dir: PathBuf::from("."),
        };
        if let Some(directory) = sources.variable(DIRECTORY) {
            sources.directory = PathBuf::from(directory);
        }
        sources
    }

    /// The files that variables of the process name as the place of their value.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let variables = self.environment_variables.iter();
        let files = variables.filter(|(name, path)| secret_files::stands_for(name).is_some() && !path.is_empty());
        files.map(|(_, path)| PathBuf::from(path)).collect()
    }

    /// The last one wins, as in a process's own environment.
    fn variable(&self, name: &str) -> Option<&str> {
        let mut given = self.environment_variables.iter().rev();
        given.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `MAPLE_ENV`. Nothing else can be read without it, so that a fault here stands alone.
    pub(super) fn environment(&self) -> Result<Environment, ConfigFaults> {
        let given = self.variable(ENVIRONMENT).unwrap_or(Environment::default().as_str());
        let found = Environment::ALL.into_iter().find(|one| one.as_str() == given);
        found.ok_or_else(|| {
            let allowed = Environment::ALL.map(|one| quoted_text(one.as_str())).join(", ");
            let shown = quoted_text(&given.chars().take(40).collect::<String>());
            let problem = format!("{shown} is not an environment; must be one of {allowed}");
            ConfigFaults(vec![format!("{ENVIRONMENT}: {problem}")])
        })
    }

    /// `default.toml` and the environment's own file.
    pub(super) fn files(&self, check: &mut Check) -> Vec<Layer> {
        // A directory that somebody named should be there; the usual one need not.
        if self.variable(DIRECTORY).is_some() && !self.directory.is_dir() {
            let problem = "is not a directory; must be one that holds default.toml";
            check.unusable(DIRECTORY, format!("\"{}\" {problem}", self.directory.display()));
        }
        let environment = check.environment();
        let own = match environment {
            Environment::Development => include_str!("../../../../config/development.toml"),
            Environment::Staging => include_str!("../../../../config/staging.toml"),
            Environment::Production => include_str!("../../../../config/production.toml"),
        };
        let built_in = [
            ("default", include_str!("../../../../config/default.toml")),
            (environment.as_str(), own),
        ];
        let layers = built_in.into_iter().filter_map(|(stem, built_in)| {
            let path = self.directory.join(stem).with_extension("toml");
            match text(&path, check) {
                Some(text) => toml(&path.display().to_string(), &text, check),
                None => toml(&format!("built-in {stem}.toml"), built_in, check),
            }
        });
        layers.collect()
    }

    /// The variables of `.env.local`, which may be missing.
    pub(super) fn dotenv(&self, check: &mut Check) -> Vec<Variable> {
        let path = self.dotenv_dir.join(DOTENV);
        let text = text(&path, check).unwrap_or_default();
        let mut pairs = Vec::new();
        for entry in dotenvy::from_read_iter(text.as_bytes()) {
            let problem = match entry {
                Ok((name, _)) if name == ENVIRONMENT || name == DIRECTORY => {
                    format!("{name} must be set in the environment, not here")
                }
                Ok(pair) => {
                    pairs.push(pair);
                    continue;
                }
                // The error's own text repeats the line, which may hold a secret.
                Err(dotenvy::Error::LineParse(line, _)) => {
                    let line = line.lines().next().unwrap_or_default().trim();
                    let before = text.lines().take_while(|other| other.trim() != line);
                    format!("line {} must have the form NAME=value", before.count() + 1)
                }
                Err(error) => format!("cannot be read: {error}"),
            };
            check.unusable(path.display(), problem);
        }
        variables::read(&pairs, &format!("{DOTENV}: "), check)
    }
}

/// A file's text; nothing if it is not there, or cannot be read, which is a fault.
fn text(path: &FilePath, check: &mut Check) -> Option<String> {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    match fs::read_to_string(path) {
        Err(error) if !absent.contains(&error.kind()) => {
            check.unusable(path.display(), format!("cannot be read: {error}"));
            None
        }
        read => read.ok(),
    }
}

/// The parser quotes the line it stumbled over, which may hold a secret: position and reason are told.
pub(super) fn toml(origin: &str, text: &str, check: &mut Check) -> Option<Layer> {
    let error = match FileFormat::Toml.parse(Some(&origin.to_owned()), text) {
        Ok(table) => return Some(Layer(table)),
        Err(error) => error.to_string(),
    };
    let lines = error.lines().map(str::trim);
    let kept = lines.filter(|line| !line.is_empty() && !line.contains('|'));
    check.unusable(origin, kept.collect::<Vec<_>>().join(": "));
    None
}
