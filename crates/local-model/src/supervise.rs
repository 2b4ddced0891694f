//! `local-model run`: keeps a model served, and tells MapleAI and the person about it.
//!
//! One thread decides. Fetching, the server's outputs, its first answer and signals come to it as events, so that each wait
//! has an end and stopping works in every state.

use std::{path::PathBuf, process::ExitCode};

use crate::fetch::FileArgs;

mod child;
mod deaths;
mod events;
mod health;
mod keeper;
mod reported_progress;
pub mod state;
mod times;

pub use health::{HealthArgs, healthcheck};
pub use times::Times;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The file that tells the state, replaced at each change
    #[arg(long, value_name = "PATH")]
    pub state: PathBuf,
    #[command(flatten)]
    pub file: FileArgs,
    /// A program to start in place of this one, as `PROGRAM serve --model FILE`
    #[arg(long, value_name = "PROGRAM", hide = true)]
    pub server: Option<PathBuf>,
    /// Milliseconds of a first back-off, of the limit of loading, and between attempts at fetching
    #[arg(long, value_name = "MS,MS,MS", hide = true, value_parser = Times::parse)]
    pub times: Option<Times>,
}

/// Runs until a signal comes, standard input ends, or the model is given up.
#[allow(clippy::print_stderr)]
pub fn run(args: &RunArgs) -> ExitCode {
    let program = match args.server.clone().map_or_else(std::env::current_exe, Ok) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("the program's own path is not known: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (events, received) = events::channel();
    if let Err(error) = events::watch_signals(&events) {
        eprintln!("signals cannot be watched: {error}");
        return ExitCode::FAILURE;
    }
    events::watch_stdin(&events);
    let keeper = keeper::Keeper::new(
        program,
        args.file.settings(),
        state::StateFile::new(args.state.clone()),
        args.times.unwrap_or_default(),
        events,
        received,
    );
    keeper.run()
}
