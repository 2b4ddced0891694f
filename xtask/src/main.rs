//! `cargo xtask`: what the make targets of delivery do. People and pipelines call the targets; `make help` lists them.
//!
//! By the programs that people use themselves (kubectl, git, curl, docker), so that every step can be done by hand, too. What those print
//! as JSON is read here as JSON.

mod checklist;
mod checkout;
mod cluster;
mod curl;
mod deploy;
mod environment;
mod error;
mod evidence;
mod image;
mod measure;
mod notify;
mod pin;
mod previous;
mod program;
mod rollback;
mod rollout;
mod sbom;
mod shown;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use checkout::Checkout;
use error::TaskError;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    version,
    bin_name = "cargo xtask",
    about = "What the make targets of delivery do"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write the image into k8s/ENVIRONMENT, and the migration Job's name after it
    Pin { environment: String, image: String },
    /// Migrate and roll out an image, and follow it to its end; 3 if its analysis cannot judge it
    Deploy { environment: String, image: String },
    /// All traffic to the version that served before; with FROM only if that is the image in place
    Rollback { environment: String, from: Option<String> },
    /// Error rate, response times and completions of the last 15 minutes, from PROMETHEUS_URL, against a release's bounds
    Measure { environment: String },
    /// Post MESSAGE to the webhook in NOTIFY_WEBHOOK_URL; 3 if there is none, and nobody was reached
    Notify { message: String },
    /// Write down that ITEM was shown of this commit, by BY: a command, or a person's name
    Evidence {
        item: String,
        outcome: String,
        by: String,
        #[arg(default_value = "")]
        detail: String,
    },
    /// Run COMMAND and write evidence of how it ended; ends with its status
    Shown {
        item: String,
        by: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// What is not shown of this commit yet, by the binary in IMAGE, or by one that is built here
    Checklist {
        #[arg(default_value = "")]
        phase: String,
        #[arg(default_value = "")]
        image: String,
    },
    /// Write the bill of materials (CycloneDX) of the binary to FILE
    Sbom { file: String },
    /// Print the commit of the previous release and the path of its binary, which is built if it is not cached
    Previous,
}

fn main() -> ExitCode {
    let done = Checkout::find().and_then(|checkout| perform(&Cli::parse().task, &checkout));
    done.unwrap_or_else(|error| {
        _ = writeln!(io::stderr(), "error: {}", error.chain());
        ExitCode::FAILURE
    })
}

fn perform(task: &Task, checkout: &Checkout) -> Result<ExitCode, TaskError> {
    match task {
        Task::Pin { environment, image } => pin::run(checkout, environment, image),
        Task::Deploy { environment, image } => deploy::run(checkout, environment, image),
        Task::Rollback { environment, from } => {
            rollback::run(checkout, environment, from.as_deref().unwrap_or_default())
        }
        Task::Measure { environment } => measure::run(checkout, environment),
        Task::Notify { message } => notify::run(message),
        Task::Evidence {
            item,
            outcome,
            by,
            detail,
        } => evidence::run(checkout, item, outcome, by, detail),
        Task::Shown { item, by, command } => shown::run(checkout, item, by, command),
        Task::Checklist { phase, image } => checklist::run(checkout, phase, image),
        Task::Sbom { file } => sbom::run(checkout, file),
        Task::Previous => previous::run(checkout),
    }
}

/// A closed pipe is the reader's wish: the exit code says what matters.
fn say(line: &str) {
    _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
