//! `make sbom`: the bill of materials of the binary, as CycloneDX 1.5 in JSON, by cargo-cyclonedx. What only builds it is not in it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{checkout::Checkout, error::TaskError, program, say};

const TOOL_VERSION: &str = "0.5.9";
/// The packages that are a program.
const PROGRAMS: [&str; 5] = [
    "",
    "crates/bench",
    "crates/local-model",
    "crates/reference-proxy",
    "xtask",
];
/// With fewer crates than this something else was looked at.
const MIN_CRATES: usize = 100;

pub(crate) fn run(checkout: &Checkout, file: &str) -> Result<ExitCode, TaskError> {
    if file.is_empty() {
        return TaskError::refused("SBOM must name a file: make sbom SBOM=out/sbom.cdx.json");
    }
    let tool = tool()?;
    // It writes beside the manifest: into a copy, with empty programs in the places of the real ones.
    let work = TempDir::new().map_err(TaskError::file("a temporary folder"))?;
    copy_manifests(checkout, work.path())?;
    program::run(
        Command::new(tool)
            .arg("cyclonedx")
            .arg("--manifest-path")
            .arg(work.path().join("Cargo.toml"))
            .args(["--format", "json", "--spec-version", "1.5", "--all", "--no-build-deps"])
            .args([
                "--target",
                "x86_64-unknown-linux-gnu",
                "--override-filename",
                "sbom.cdx",
            ]),
    )?;
    let written = work.path().join("sbom.cdx.json");
    let text = fs::read_to_string(&written).map_err(TaskError::file(&written))?;
    // Where the copy was is nobody's business.
    let text = text.replace(&*work.path().to_string_lossy(), ".");
    let crates = crates_in(&text).map_err(|source| TaskError::NotJson {
        command: "cargo cyclonedx".to_owned(),
        source,
    })?;
    if crates < MIN_CRATES {
        return TaskError::refused(format!("the bill of materials names only {crates} crates"));
    }
    let target = Path::new(file);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    }
    fs::write(target, text).map_err(TaskError::file(target))?;
    say(&format!("{file}: {crates} crates"));
    Ok(ExitCode::SUCCESS)
}

/// Built once. It runs for a second: an optimised build would cost minutes and save none of them.
fn tool() -> Result<PathBuf, TaskError> {
    let tools = Checkout::cache().join("tools");
    let root = tools.join(format!("cargo-cyclonedx-{TOOL_VERSION}"));
    let tool = root.join("bin/cargo-cyclonedx");
    fs::create_dir_all(&tools).map_err(TaskError::file(&tools))?;
    // As scripts/lint/deny.sh does: two builds at a time would be in each other's way.
    let lock = File::create(tools.join("lock")).and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(TaskError::file(tools.join("lock")))?;
    if !tool.is_file() {
        say(&format!("Building cargo-cyclonedx {TOOL_VERSION} (once)"));
        let build = tools.join("build");
        program::run(
            Command::new("cargo")
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--version",
                    TOOL_VERSION,
                    "cargo-cyclonedx",
                    "--root",
                ])
                .arg(&root)
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_TARGET_DIR", &build),
        )?;
        fs::remove_dir_all(&build).map_err(TaskError::file(&build))?;
    }
    Ok(tool)
}

fn copy_manifests(checkout: &Checkout, work: &Path) -> Result<(), TaskError> {
    let copy = |part: &Path| -> std::io::Result<()> {
        let target = work.join(part);
        fs::create_dir_all(target.join("src"))?;
        fs::copy(checkout.path(part).join("Cargo.toml"), target.join("Cargo.toml"))?;
        fs::write(target.join("src/lib.rs"), "")?;
        if PROGRAMS.iter().any(|program| part == Path::new(program)) {
            fs::write(target.join("src/main.rs"), "fn main() {}\n")?;
        }
        Ok(())
    };
    copy(Path::new("")).map_err(TaskError::file("Cargo.toml"))?;
    copy(Path::new("xtask")).map_err(TaskError::file("xtask"))?;
    let crates = fs::read_dir(checkout.path("crates")).map_err(TaskError::file("crates"))?;
    for entry in crates {
        let name = entry.map_err(TaskError::file("crates"))?.file_name();
        let part = Path::new("crates").join(name);
        copy(&part).map_err(TaskError::file(&part))?;
    }
    let lock = work.join("Cargo.lock");
    fs::copy(checkout.path("Cargo.lock"), &lock).map_err(TaskError::file(&lock))?;
    Ok(())
}

/// How many crates of a registry a bill of materials names.
fn crates_in(text: &str) -> Result<usize, serde_json::Error> {
    let bill: Value = serde_json::from_str(text)?;
    let components = bill["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_crate = |component: &&Value| {
        component["purl"]
            .as_str()
            .is_some_and(|purl| purl.starts_with("pkg:cargo/"))
    };
    Ok(components.iter().filter(is_crate).count())
}

#[cfg(test)]
mod tests {
    use super::crates_in;

    #[test]
    fn crates_are_counted_by_their_address() {
        let text = r#"{"components": [{"purl": "pkg:cargo/a@1"}, {"purl": "pkg:generic/b@1"}, {"name": "c"}]}"#;
        assert_eq!(crates_in(text).unwrap(), 1);
        assert_eq!(crates_in("{}").unwrap(), 0);
        crates_in("<html>").unwrap_err();
    }
}
