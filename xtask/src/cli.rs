//! The command line of `cargo xtask`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::{db, services, sqlx, suites};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    version,
    bin_name = "cargo xtask",
    about = "What the make targets do"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
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
    /// The private PostgreSQL of this checkout; its data stays between runs
    Postgres {
        #[command(subcommand)]
        action: db::Action,
    },
    /// psql in the private PostgreSQL, which runs as long as somebody uses it
    #[command(disable_help_flag = true)]
    Db {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run COMMAND with throw-away services, whose addresses are in TEST_DATABASE_URL and TEST_REDIS_URL
    With {
        services: Vec<services::Service>,
        /// Seconds that it may take
        #[arg(long)]
        limit: Option<u64>,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Build MapleAI and run it with what it needs, until Ctrl-C
    Run,
    /// The same, built and started again after every change
    Dev,
    /// Run one suite, whose runner gets the arguments, or all of them
    Test {
        suite: Option<suites::Suite>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Formatting, clippy, dependencies, shell scripts, line ends
    Lint,
    /// Formatting, clippy and unit tests of the packages that differ from BASE
    Check,
    /// Try the readers of what others write, SECONDS_EACH
    Fuzz,
    /// Manifests, rules, dashboards, workflows and delivery scripts; arguments go to pytest
    K8sTest {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Security scan: dependencies, manifests, Dockerfile, workflows
    Scan,
    /// The previous release on the new schema, under load, and the new one on the old
    Compatibility,
    /// Roll out good and bad candidates with real processes
    Rehearse {
        /// One good candidate and two bad ones
        #[arg(long)]
        short: bool,
        /// Write docs/reports/rehearsal.json, .md and .png
        #[arg(long)]
        report: bool,
    },
    /// Build the container image (IMAGE names it)
    Image,
    /// Build the image, run it, and check what is said of it
    ImageTest {
        /// Write docs/reports/image.json
        #[arg(long)]
        report: bool,
    },
    /// Build and run the image of the small model (LOCAL_MODEL names its file)
    ModelImageTest,
    /// Build the release binary
    Build,
    /// Measure the gateway against a mock upstream; arguments go to crates/bench
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Find out which code runs under load, for release builds to be laid out by
    Profile,
    /// Compile the queries against a fresh database
    Sqlx { action: sqlx::Action },
    /// Build the program that runs the small model, and become it
    #[command(hide = true)]
    LocalModel { state: PathBuf },
    /// Become a job of PARENT, which ends with it
    #[command(hide = true)]
    Launch {
        parent: i32,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// End the jobs of a PROCESS that was killed
    #[command(hide = true)]
    Guard { process: i32 },
    /// Stop the private PostgreSQL when the last that used it was killed
    #[command(hide = true)]
    LeaseGuard { file: PathBuf },
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
