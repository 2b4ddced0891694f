//! `make check`: what can be known within a minute of the packages that differ from BASE (origin/main, or HEAD where there is none):
//! formatting, clippy and the unit tests of each. Packages that only use a changed one are compiled by clippy's own look at the program.

use std::{collections::BTreeSet, fs, process::ExitCode};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::{output, variable},
    say,
    suites::has_nextest,
};

/// What the product's own package is made of, beside crates.
const OF_THE_PRODUCT: [&str; 8] = [
    "src",
    "tests/api",
    "tests/cli.rs",
    "templates",
    "assets",
    "config",
    "migrations",
    "Cargo.",
];

pub(crate) fn run(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let base = variable("BASE").or_else(|| checkout.ask_git(&["rev-parse", "--quiet", "--verify", "origin/main"]));
    let base = base.map_or_else(|| checkout.head(), Ok)?;
    let mut changed = output(&mut checkout.git(&["diff", "--name-only", &base]))?;
    changed.push('\n');
    changed.push_str(&output(&mut checkout.git(&[
        "ls-files",
        "--others",
        "--exclude-standard",
    ]))?);
    let manifest = |folder: &str| fs::read_to_string(checkout.path(folder).join("Cargo.toml")).ok();
    let packages = packages(&changed, manifest);

    let jobs = Jobs::begin()?;
    jobs.cargo(checkout, &["fmt", "--all", "--check"])?;
    if packages.is_empty() {
        say(&format!(
            "No Rust differs from {base}: nothing else to check. `make test` runs everything."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen: Vec<_> = packages.iter().flat_map(|name| ["--package", name]).collect();
    let clippy = [
        &["clippy", "--locked", "--all-targets"][..],
        &chosen,
        &["--", "-D", "warnings"],
    ];
    jobs.cargo(checkout, &clippy.concat())?;
    let tests: &[&str] = if has_nextest() {
        &["nextest", "run", "--locked", "--lib", "--bins", "--no-tests=pass"]
    } else {
        &["test", "--locked", "--lib", "--bins"]
    };
    jobs.cargo(checkout, &[tests, &chosen].concat())?;
    Ok(ExitCode::SUCCESS)
}

/// `manifest` gives the text of a folder's Cargo.toml, if it has one.
fn packages(changed: &str, manifest: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let folders = changed.lines().filter_map(|path| {
        let mut parts = path.split('/');
        match (parts.next()?, parts.next()?) {
            ("crates", name) => Some(format!("crates/{name}")),
            ("xtask", _) => Some("xtask".to_owned()),
            _ => None,
        }
    });
    let folders: BTreeSet<_> = folders.collect();
    let manifests = folders.iter().filter_map(|folder| manifest(folder));
    let mut packages: Vec<_> = manifests.filter_map(|text| name_in(&text)).collect();
    if changed
        .lines()
        .any(|path| OF_THE_PRODUCT.iter().any(|start| path.starts_with(start)))
    {
        packages.push("mapleai".to_owned());
    }
    packages
}

fn name_in(manifest: &str) -> Option<String> {
    let line = manifest.lines().find_map(|line| line.strip_prefix("name = \""))?;
    line.strip_suffix('"').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::packages;

    #[test]
    fn a_file_belongs_to_the_package_of_its_folder() {
        let manifest = |folder: &str| {
            let name = folder.rsplit('/').next()?;
            (name != "gone").then(|| format!("[package]\nname = \"mapleai-{name}\"\n"))
        };
        let changed =
            "crates/llm/src/lib.rs\ncrates/llm/Cargo.toml\ncrates/gone/x\nxtask/src/main.rs\ndocs/src.md\nREADME.md";
        assert_eq!(packages(changed, manifest), ["mapleai-llm", "mapleai-xtask"]);
        for path in ["src/main.rs", "Cargo.lock", "tests/cli.rs", "migrations/1.sql"] {
            assert_eq!(packages(path, manifest), ["mapleai"], "{path}");
        }
        assert!(packages("docs/x.md\nscripts/a.sh\n", manifest).is_empty());
    }
}
