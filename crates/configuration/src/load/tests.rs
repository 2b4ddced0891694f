//! Loading as a whole: order, faults, masks. Each test has a directory and variables of its own.

mod environments;
mod files;
mod print;
mod properties;
mod schema;
mod sources;
mod variables;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::{ConfigFaults, Sources};
use crate::Config;

const SECRET: &str = "a-secret-of-the-production-system-0123456789";

/// The built-in files only.
fn with(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment_variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        directory: PathBuf::from("/nonexistent"),
        dotenv_dir: PathBuf::from("/nonexistent"),
    }
}

fn production(more: &[(&'static str, &'static str)]) -> Sources {
    let mut variables = vec![
        ("MAPLE_ENV", "production"),
        (
            "DATABASE_URL",
            "postgres://maple:hunter2@db/mapleai?sslmode=verify-full",
        ),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.example"),
        ("MAPLE__AUTH__SIGNING_KEYS__K1", SECRET),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
    ];
    variables.extend(more);
    with(&variables)
}

/// A directory with files, and variables.
fn files(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut sources = with(variables);
    sources.directory = directory.path().to_owned();
    sources.dotenv_dir = directory.path().to_owned();
    (directory, sources)
}

fn lines(faults: &ConfigFaults) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// The faults' lines, with the temporary directory left out.
fn faults(sources: &Sources) -> Vec<String> {
    let directory = format!("{}/", sources.directory.display());
    match Config::load(sources) {
        Ok(_) => Vec::new(),
        Err(faults) => lines(&faults).iter().map(|line| line.replace(&directory, "")).collect(),
    }
}
