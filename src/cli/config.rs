//! `mapleai config`: what is in effect, and why.

use std::io::{self, Write as _};

use super::CliError;
use configuration::load::{Effective, Sources};

pub(super) fn show(sources: &Sources, json: bool) -> Result<(), CliError> {
    let effective = Effective::load(sources)?;
    let text = if json {
        format!("{:#}\n", effective.to_json())
    } else {
        effective.to_toml()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `mapleai config | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(CliError::Output),
    }
}
