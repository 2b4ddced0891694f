//! `local-model serve`: answers with the model on a loopback port.
//!
//! What `run` relies on: the key of all calls is in the variable LOCAL_MODEL_KEY; the process listens on a port of its own
//! choice and writes one line of JSON about it to standard output ([`Listening`]); it ends when standard input ends; status 3
//! says that the file or the machine is not fit, with the reason as the last line on standard error.

use std::{path::PathBuf, process::ExitCode};

use serde::{Deserialize, Serialize};

/// Exit status of `serve` when starting it again cannot help.
pub const UNFIT: u8 = 3;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The model's GGUF file
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Checks each call: `Authorization: Bearer KEY`
    #[arg(long, env = "LOCAL_MODEL_KEY", hide_env_values = true, hide = true)]
    pub key: String,
}

/// The line on standard output that says where the server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    pub port: u16,
    /// Id of the model in calls: `smollm2-135m`.
    pub model: String,
    /// What people read: `SmolLM2 135M`.
    pub name: String,
    /// Threads that compute.
    pub threads: usize,
    /// Tokens of the window.
    pub context: usize,
}

/// Runs until standard input ends or a signal comes.
#[allow(clippy::print_stderr)]
pub fn run(args: &ServeArgs) -> ExitCode {
    eprintln!(
        "this build cannot run a model yet, so {} is not served",
        args.model.display()
    );
    ExitCode::from(UNFIT)
}
