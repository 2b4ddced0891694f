//! The program `local-model`.

use std::process::ExitCode;

fn main() -> ExitCode {
    local_model::cli::run()
}
