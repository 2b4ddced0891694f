//! A build of another commit, from its sources alone.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{checkout::Checkout, error::TaskError, program};

/// As many digits of a commit as people read.
const SHORT: usize = 12;

/// In the checkout's target folder, whose dependencies are mostly the same ones. Under a version of its own: cargo knows a package by that and
/// not by its folder, and would take the checkout's build for this one, or the other way about.
pub(super) fn build(checkout: &Checkout, commit: &str, binary: &Path) -> Result<(), TaskError> {
    let short = &commit[..SHORT.min(commit.len())];
    program::report(&format!("Building the previous release, {short} (once)"));
    let work = TempDir::with_prefix("mapleai-previous.").map_err(TaskError::file("a temporary folder"))?;
    let (archive, tree) = (work.path().join("tree.tar"), work.path().join("tree"));
    fs::create_dir(&tree).map_err(TaskError::file(&tree))?;
    program::run(checkout.git(&["archive", commit, "--output"]).arg(&archive))?;
    program::run(Command::new("tar").arg("-C").arg(&tree).arg("-xf").arg(&archive))?;
    let packages = packages_of_the_workspace_s_version(&tree)?;
    edit(&tree.join("Cargo.toml"), |text| with_version(text, short))?;
    edit(&tree.join("Cargo.lock"), |text| with_versions(text, &packages, short))?;
    let mut cargo = Command::new("cargo");
    // What it prints is not what this prints.
    cargo
        .args(["build", "--locked", "--bin", "mapleai"])
        .current_dir(&tree)
        .stdout(Stdio::null());
    program::run(
        cargo
            .env("CARGO_TARGET_DIR", Checkout::target())
            .env("SQLX_OFFLINE", "true"),
    )?;
    let folder = binary.parent().unwrap_or(binary);
    let beside = binary.with_extension("new");
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(TaskError::file(folder))?;
    }
    fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    program::run(Command::new("cp").arg("-R").arg(tree.join("config")).arg(folder))?;
    let copied = fs::copy(Checkout::target().join("debug/mapleai"), &beside).and_then(|_| fs::rename(&beside, binary));
    copied.map_err(TaskError::file(binary))
}

fn edit(file: &Path, change: impl FnOnce(&str) -> String) -> Result<(), TaskError> {
    let text = fs::read_to_string(file).map_err(TaskError::file(file))?;
    fs::write(file, change(&text)).map_err(TaskError::file(file))
}

/// The root package, and those members that take the version of the workspace. Others have one of their own, which stays.
fn packages_of_the_workspace_s_version(tree: &Path) -> Result<BTreeSet<String>, TaskError> {
    let read = |file: &Path| fs::read_to_string(file).map_err(TaskError::file(file));
    let mut packages = BTreeSet::from_iter(name_in(&read(&tree.join("Cargo.toml"))?).map(str::to_owned));
    let crates = tree.join("crates");
    if crates.is_dir() {
        for entry in fs::read_dir(&crates).map_err(TaskError::file(&crates))? {
            let manifest = entry.map_err(TaskError::file(&crates))?.path().join("Cargo.toml");
            let text = read(&manifest)?;
            if text.lines().any(|line| line == "version.workspace = true") {
                packages.extend(name_in(&text).map(str::to_owned));
            }
        }
    }
    Ok(packages)
}

/// The name of the package of a manifest or of an entry of Cargo.lock.
fn name_in(text: &str) -> Option<&str> {
    text.lines().find_map(|line| value_of("name", line))
}

fn value_of<'a>(key: &str, line: &'a str) -> Option<&'a str> {
    let rest = line.strip_prefix(key)?.strip_prefix(" = \"")?;
    rest.split_once('"').map(|(value, _)| value)
}

/// The first version in a manifest gets the commit at its end: the program's, or the one that packages of the workspace take.
fn with_version(text: &str, short: &str) -> String {
    let mut is_next = true;
    let lines = text.split_inclusive('\n').map(|line| match value_of("version", line) {
        Some(version) if is_next => {
            is_next = false;
            line.replacen(version, &format!("{version}-{short}"), 1)
        }
        _ => line.to_owned(),
    });
    lines.collect()
}

/// The same of these packages in a Cargo.lock, whose entries have blank lines between them.
fn with_versions(lock: &str, packages: &BTreeSet<String>, short: &str) -> String {
    let entries = lock.split("\n\n").map(|entry| match name_in(entry) {
        Some(name) if packages.contains(name) => with_version(entry, short),
        _ => entry.to_owned(),
    });
    entries.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::{packages_of_the_workspace_s_version, with_version, with_versions};
    use std::{collections::BTreeSet, fs};

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_manifest_s_first_version_and_each_of_the_workspace_s_in_the_lock_get_the_commit() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\n[dependencies]\nversion = \"2\"\n";
        assert_eq!(
            with_version(manifest, "c0ffee"),
            "[workspace.package]\nversion = \"0.1.0-c0ffee\"\n[dependencies]\nversion = \"2\"\n"
        );
        let entry = |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
        let lock = [
            "version = 4\n".to_owned(),
            entry("a", "0.1.0"),
            entry("mapleai", "0.1.0"),
            entry("z", "0.1.0"),
        ];
        let expected = [
            "version = 4\n".to_owned(),
            entry("a", "0.1.0"),
            entry("mapleai", "0.1.0-c0ffee"),
            entry("z", "0.1.0-c0ffee"),
        ];
        assert_eq!(
            with_versions(&lock.join("\n"), &set(&["mapleai", "z"]), "c0ffee"),
            expected.join("\n")
        );
    }

    #[test]
    fn packages_with_a_version_of_their_own_keep_it() {
        let tree = tempfile::tempdir().unwrap();
        let write = |folder: &str, text: &str| {
            let folder = tree.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("Cargo.toml"), text).unwrap();
        };
        write(
            "",
            "[workspace]\n[package]\nname = \"mapleai\"\nversion.workspace = true\n",
        );
        assert_eq!(
            packages_of_the_workspace_s_version(tree.path()).unwrap(),
            set(&["mapleai"])
        );
        write(
            "crates/llm",
            "[package]\nname = \"mapleai-llm\"\nversion.workspace = true\n",
        );
        write(
            "crates/apart",
            "[package]\nname = \"apart\"\nversion = \"0.1.0\"\n[[bin]]\nname = \"b\"\n",
        );
        assert_eq!(
            packages_of_the_workspace_s_version(tree.path()).unwrap(),
            set(&["mapleai", "mapleai-llm"])
        );
    }
}
