//! cargo-fuzz, and what it needs.

use std::{path::PathBuf, process::Stdio, time::Duration};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::{is_on_path, variable},
    say,
};

const VERSION: &str = "0.13.2";
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// A minute and a half on two cores.
const INSTALL_TIMEOUT: Duration = Duration::from_mins(20);

/// The program, which is built once for all checkouts; or what is missing, for people.
pub(super) fn find(jobs: &Jobs, checkout: &Checkout) -> Result<Result<PathBuf, String>, TaskError> {
    // libFuzzer comes as source.
    let has_compiler = variable("CXX").is_some() || is_on_path("c++");
    if !has_compiler {
        return Ok(Err("there is no C++ compiler (g++, or CXX)".to_owned()));
    }
    let folder = Checkout::cache().join(format!("tools/cargo-fuzz-{VERSION}"));
    let installed = folder.join("bin/cargo-fuzz");
    for program in [PathBuf::from("cargo-fuzz"), installed.clone()] {
        if is_there(jobs, &program)? {
            return Ok(Ok(program));
        }
    }
    say(&format!("Building cargo-fuzz {VERSION} (once)"));
    let mut install = jobs.in_checkout(checkout, "cargo");
    install.args(["install", "--quiet", "--locked", "--version", VERSION, "--root"]);
    install.arg(&folder).arg("cargo-fuzz");
    let target = Checkout::cache().join("tools/build-cargo-fuzz");
    // It runs for a second: an optimised build would cost minutes and save none of them.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    install.env("CARGO_TARGET_DIR", &target);
    jobs.start(&mut install)?.wait(Some(INSTALL_TIMEOUT))?;
    _ = std::fs::remove_dir_all(target);
    if is_there(jobs, &installed)? {
        Ok(Ok(installed))
    } else {
        Ok(Err(format!(
            "cargo-fuzz {VERSION} is not here, and could not be installed (above)"
        )))
    }
}

fn is_there(jobs: &Jobs, program: &std::path::Path) -> Result<bool, TaskError> {
    if !(program.is_file() || program.is_relative() && is_on_path(&program.to_string_lossy())) {
        return Ok(false);
    }
    let mut command = jobs.command(program);
    command.args(["fuzz", "--version"]).stderr(Stdio::null());
    let version = jobs.output(&mut command, VERSION_TIMEOUT)?;
    Ok(is_version(&version))
}

/// Options differ between versions.
fn is_version(text: &str) -> bool {
    text.split_whitespace().next_back() == Some(VERSION)
}

#[cfg(test)]
mod tests {
    use super::{VERSION, is_version};

    #[test]
    fn only_the_version_that_is_known_will_do() {
        assert!(is_version(&format!("cargo-fuzz {VERSION}\n")));
        assert!(!is_version("cargo-fuzz 0.11.0\n") && !is_version(""));
    }
}
