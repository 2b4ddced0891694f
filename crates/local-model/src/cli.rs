//! Command line of the program.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    fetch::FetchArgs,
    serve::{self, ServeArgs},
    supervise::{HealthArgs, RunArgs},
};

#[derive(Debug, Parser)]
#[command(
    name = "local-model",
    version,
    about = "A small language model on this machine, for MapleAI in development"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or fetch the model's file, check it, and print its path
    Fetch(FetchArgs),
    /// Fetch the model, serve it, start it again when it dies, and tell its state in a file
    Run(RunArgs),
    /// Say whether the model that `run` keeps answers, for containers: status 0 if it does
    Healthcheck(HealthArgs),
    /// Serve a model on a loopback port until standard input ends
    Serve(ServeArgs),
}

/// Runs what the command line says; the status is that of the process.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Fetch(args) => crate::fetch::run(&args),
        Command::Run(args) => crate::supervise::run(&args),
        Command::Healthcheck(args) => crate::supervise::healthcheck(&args),
        Command::Serve(args) => {
            if !args.detached {
                die_with_parent();
            }
            serve::run(&args)
        }
    }
}

/// A server whose parent was killed serves nobody. Where the kernel does not know this, the end of standard input is told.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}
