//! `local-model fetch`: the model's file on this machine.

use std::{path::PathBuf, process::ExitCode};

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// A GGUF file to use instead of the default model
    #[arg(long, env = "LOCAL_MODEL", value_name = "PATH")]
    pub model: Option<PathBuf>,
}

#[allow(clippy::print_stderr)]
pub fn run(_args: &FetchArgs) -> ExitCode {
    eprintln!("fetching is not built yet");
    ExitCode::FAILURE
}
