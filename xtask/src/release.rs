//! Release builds, laid out by the profiles that `make profile` writes, if there are any. A function that has changed since is built as without,
//! and says nothing of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{checkout::Checkout, error::TaskError, jobs::Jobs, program::variable};

/// `make build`
pub(crate) fn build(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    let arguments = ["build", "--release", "--locked"];
    let mut cargo = cargo(&jobs, checkout, &arguments, &Checkout::target());
    with_profile(&mut cargo, checkout, "mapleai");
    perform(&jobs, &mut cargo)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cargo(jobs: &Jobs, checkout: &Checkout, arguments: &[&str], target: &Path) -> Command {
    let mut cargo = jobs.in_checkout(checkout, "cargo");
    cargo.args(arguments).env("CARGO_TARGET_DIR", target);
    cargo
}

/// With the flags of a program's release, but for RUSTFLAGS of the caller's own.
pub(crate) fn with_profile(cargo: &mut Command, checkout: &Checkout, program: &str) {
    if let (None, Some(profile)) = (variable("RUSTFLAGS"), profile_of(checkout, program)) {
        cargo.env("RUSTFLAGS", flags(&profile));
    }
}

pub(crate) fn perform(jobs: &Jobs, cargo: &mut Command) -> Result<(), TaskError> {
    match jobs.run(cargo)? {
        0 => Ok(()),
        _ => TaskError::refused("a release could not be built (above)"),
    }
}

fn flags(profile: &Path) -> String {
    format!("-Cprofile-use={} -Cllvm-args=-no-pgo-warn-mismatch", profile.display())
}

/// profile/PROGRAM-<checksum>.profdata
fn profile_of(checkout: &Checkout, program: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(checkout.path("profile")).ok()?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_of = |name: &str| {
        name.strip_prefix(program)
            .is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".profdata"))
    };
    files
        .filter(|path| path.file_name().is_some_and(|name| is_of(&name.to_string_lossy())))
        .max()
}

#[cfg(test)]
mod tests {
    use super::profile_of;
    use crate::checkout::Checkout;
    use std::fs;

    #[test]
    fn each_program_has_a_profile_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let checkout = Checkout {
            root: folder.path().to_owned(),
        };
        assert!(profile_of(&checkout, "mapleai").is_none());
        fs::create_dir(folder.path().join("profile")).unwrap();
        for name in [
            "mapleai-0123.profdata",
            "reference-proxy-4567.profdata",
            "mapleai-0123.profraw",
        ] {
            fs::write(folder.path().join("profile").join(name), "").unwrap();
        }
        let found = profile_of(&checkout, "mapleai").unwrap();
        assert!(found.ends_with("profile/mapleai-0123.profdata"));
        assert!(profile_of(&checkout, "bench").is_none());
    }
}
