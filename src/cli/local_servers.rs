//! `mapleai local-servers`: which model servers on this machine the catalogue has, or would have, models of.

use std::io::{self, Write as _};

use super::CliError;
use crate::app;
use configuration::{Config, load::Sources};
use provider::local_servers::LocalModelServer;

/// Looks as a start of the service does. Nothing is printed where nothing is found.
pub(super) fn show(sources: &Sources) -> Result<(), CliError> {
    let config = Config::load(sources)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let found = runtime.block_on(app::local_servers::look(&config));
    let lines: String = found.iter().map(line).collect();
    io::stdout().write_all(lines.as_bytes()).map_err(CliError::Output)
}

fn line(server: &LocalModelServer) -> String {
    let (product, port, models) = (server.product, server.port, server.models.len());
    let plural = if models == 1 { "" } else { "s" };
    let left_out = if server.left_out.is_empty() {
        String::new()
    } else {
        format!("; left out: {}", server.left_out)
    };
    format!("{product} (port {port}): {models} model{plural}{left_out}\n")
}
