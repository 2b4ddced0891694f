//! `make sqlx-prepare` and `make sqlx-check`: the committed query data in .sqlx, made by compiling against a real, freshly migrated database.
//!
//! The query macros write that data themselves when SQLX_OFFLINE_DIR is set, so no further tool is needed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::{self, report},
    say,
    services::{Service, Services, temporary_folder},
};

const DATABASE: &str = "mapleai_sqlx";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Action {
    /// Write it anew
    Prepare,
    /// Fail if it differs from what the code and the migrations say
    Check,
}

pub(crate) fn run(checkout: &Checkout, action: Action) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    let services = Services::start(&jobs, checkout, &[Service::Postgres])?;
    let fresh = temporary_folder("mapleai-sqlx.")?;
    let (mark, database) = (process::id(), format!("{DATABASE}_{}", process::id()));
    services.create_anew(&database)?;
    for migration in migrations(checkout)? {
        program::output(services.psql(&database).arg("-qf").arg(migration))?;
    }
    // The macros run again only if the crate is compiled again; a cfg of its own has that effect and leaves the dependencies alone.
    let mut build = jobs.in_checkout(checkout, "cargo");
    build.args([
        "rustc",
        "--locked",
        "--package",
        "mapleai-store",
        "--lib",
        "--profile",
        "check",
        "--",
        "--cfg",
    ]);
    build
        .arg(format!("sqlx_prepare_{mark}"))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", fresh.path());
    if jobs.run(build.env("DATABASE_URL", services.database_url(&database)))? != 0 {
        return TaskError::refused("the queries do not compile (above)");
    }
    services.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"))?;

    let (made, committed) = (queries(fresh.path())?, queries(&checkout.path(".sqlx"))?);
    match action {
        Action::Prepare => replace(&checkout.path(".sqlx"), &committed, &made)?,
        Action::Check => {
            let differing: Vec<_> = difference(&made, &committed);
            for line in &differing {
                report(line);
            }
            if !differing.is_empty() {
                return TaskError::refused(".sqlx is out of date: run 'make sqlx-prepare' and commit the result");
            }
            say(&format!("The data of {} queries in .sqlx is current", made.len()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn migrations(checkout: &Checkout) -> Result<Vec<PathBuf>, TaskError> {
    let folder = checkout.path("migrations");
    let entries = fs::read_dir(&folder).map_err(TaskError::file(&folder))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<_> = paths
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".sql") && !name.ends_with(".down.sql")
        })
        .collect();
    paths.sort();
    Ok(paths)
}

/// Name and text of each query's data.
type Queries = BTreeMap<String, String>;

fn queries(folder: &Path) -> Result<Queries, TaskError> {
    let mut found = Queries::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            let text = fs::read_to_string(entry.path()).map_err(TaskError::file(entry.path()))?;
            found.insert(name, text);
        }
    }
    Ok(found)
}

fn difference(made: &Queries, committed: &Queries) -> Vec<String> {
    let lacking = made.keys().filter(|name| !committed.contains_key(*name));
    let stale = committed.keys().filter(|name| !made.contains_key(*name));
    let other = made
        .iter()
        .filter(|(name, text)| committed.get(*name).is_some_and(|old| old != *text));
    let lacking = lacking.map(|name| format!(".sqlx lacks {name}"));
    let stale = stale.map(|name| format!(".sqlx has {name}, which no query needs"));
    let other = other.map(|(name, _)| format!(".sqlx/{name} differs"));
    lacking.chain(stale).chain(other).collect()
}

fn replace(folder: &Path, old: &Queries, new: &Queries) -> Result<(), TaskError> {
    fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    for name in old.keys() {
        fs::remove_file(folder.join(name)).map_err(TaskError::file(folder))?;
    }
    for (name, text) in new {
        fs::write(folder.join(name), text).map_err(TaskError::file(folder))?;
    }
    say(&format!("Wrote the data of {} queries to .sqlx", new.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Queries, difference, queries, replace};

    fn data(entries: &[(&str, &str)]) -> Queries {
        entries
            .iter()
            .map(|(name, text)| (format!("query-{name}.json"), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_lacking_stale_or_other_is_named() {
        let made = data(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let committed = data(&[("a", "1"), ("b", "old"), ("d", "4")]);
        let lines = [
            ".sqlx lacks query-c.json",
            ".sqlx has query-d.json, which no query needs",
            ".sqlx/query-b.json differs",
        ];
        assert_eq!(difference(&made, &committed), lines);
        assert!(difference(&made, &made).is_empty());
    }

    #[test]
    fn preparing_leaves_nothing_of_the_old_data() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (data(&[("a", "1"), ("b", "2")]), data(&[("b", "3")]));
        replace(folder.path(), &Queries::new(), &old).unwrap();
        replace(folder.path(), &old, &new).unwrap();
        assert_eq!(queries(folder.path()).unwrap(), new);
    }
}
