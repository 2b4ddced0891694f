//! What going through MapleAI costs, against going to the upstream directly, measured in one run.
//!
//! The gateway is a release build configured as in production, alone on one core. The load generator and a mock
//! upstream share one thread on another core, with PostgreSQL beside them; how busy both cores were is part of the
//! result, so that a figure limited by the measuring side says so. `scripts/bench.sh` starts it.

mod cases;
mod engine;
mod error;
mod gateway;
mod histogram;
mod load;
mod measure;
mod network;
mod options;
mod procstat;
mod report;
mod request;
mod schedule;
mod script;
mod session;
mod table;
mod upstream;
mod variant;
mod yardstick;

use clap::Parser;
use std::{
    error::Error as _,
    io::{Write, stderr},
    process::ExitCode,
};

fn main() -> ExitCode {
    match session::run(&options::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                let message = error.to_string();
                if !text.contains(&message) {
                    text = format!("{text}: {message}");
                }
                cause = error.source();
            }
            let _ = writeln!(stderr(), "bench: {text}");
            ExitCode::FAILURE
        }
    }
}
