//! `local-model run`: keeps a model served, and tells MapleAI about it by a state file.

use std::{path::PathBuf, process::ExitCode};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The file that tells the state, replaced at each change
    #[arg(long, value_name = "PATH")]
    pub state: PathBuf,
    /// A GGUF file to use instead of the default model
    #[arg(long, env = "LOCAL_MODEL", value_name = "PATH")]
    pub model: Option<PathBuf>,
}

#[allow(clippy::print_stderr)]
pub fn run(_args: &RunArgs) -> ExitCode {
    eprintln!("running is not built yet");
    ExitCode::FAILURE
}
