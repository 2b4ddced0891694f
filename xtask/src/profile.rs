//! `make profile`: finds out which code a gateway under load runs, for the compiler to lay it out by. Builds MapleAI with counters in it, puts it
//! through every case of the bench, and writes profile/mapleai-<checksum>.profdata, which `make build`, `make bench` and `make image` use from
//! then on; and one of the reference proxy, so that the bench compares equals. Belongs to one Cargo.lock, one compiler and one version: whatever
//! changes them needs a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    bench::{self, Builds, Counting},
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::{output, run as run_program},
    say,
    services::{install, temporary_folder},
};

const LOAD: [&str; 6] = ["--duration", "1", "--rounds", "1", "--fill-cache", "20000"];

pub(crate) fn run(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    install(checkout, &["compiler", "postgres", "redis"])?;
    let merge = merger()?;
    let jobs = Jobs::begin()?;
    let counts = temporary_folder("mapleai-profile.")?;
    // The server of the database writes none, but what it is asked by does.
    let builds = Builds {
        target: Checkout::target().join("counting"),
        program: Checkout::target().join("bench-program"),
        counting: Some(Counting {
            files: counts.path().to_owned(),
        }),
    };
    if bench::perform(&jobs, checkout, &builds, &LOAD.map(str::to_owned))? != 0 {
        return TaskError::refused("the bench failed (above)");
    }
    let folder = checkout.path("profile");
    fs::create_dir_all(&folder).map_err(TaskError::file(&folder))?;
    for old in files_in(&folder).filter(|path| path.extension().is_some_and(|end| end == "profdata")) {
        fs::remove_file(&old).map_err(TaskError::file(&old))?;
    }
    for program in [
        builds.target.join("release/mapleai"),
        builds.reference_target().join("release/reference-proxy"),
    ] {
        let merged = counts.path().join("merged");
        let raw = counts_of(&program, counts.path())?;
        run_program(
            Command::new(&merge)
                .args(["merge", "--sparse", "--output"])
                .arg(&merged)
                .arg(raw),
        )?;
        let sum = output(Command::new("sha256sum").arg(&merged))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let file = folder.join(format!("{name}-{sum:.12}.profdata"));
        // Not renamed: it may be on another file system.
        fs::copy(&merged, &file).map_err(TaskError::file(&file))?;
        say(&format!("Wrote {}", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// llvm-profdata of the compiler in use.
fn merger() -> Result<PathBuf, TaskError> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let tool = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(host.unwrap_or_default())
        .join("bin/llvm-profdata");
    if !tool.is_file() {
        run_program(Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
    }
    if tool.is_file() {
        return Ok(tool);
    }
    TaskError::refused("llvm-profdata is missing: rustup component add llvm-tools")
}

/// Build scripts and macros count too: each program's counts are told by the signature in their name, which it writes when it is run.
fn counts_of(program: &Path, counts: &Path) -> Result<PathBuf, TaskError> {
    let folder = counts.join("signature");
    _ = fs::remove_dir_all(&folder);
    output(
        Command::new(program)
            .arg("--version")
            .env("LLVM_PROFILE_FILE", folder.join("%m")),
    )?;
    let signature = files_in(&folder).next().unwrap_or_default();
    let raw = counts.join(format!(
        "{}.profraw",
        signature.file_name().unwrap_or_default().to_string_lossy()
    ));
    if fs::metadata(&raw).is_ok_and(|file| file.len() > 0) {
        return Ok(raw);
    }
    TaskError::refused(format!("the bench left no counts of {}", program.display()))
}

fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}
