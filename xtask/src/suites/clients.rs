//! The official OpenAI SDKs for JavaScript and Python against a started server.

use std::{fs, os::unix::fs::symlink};

use super::{Context, closing};
use crate::{
    error::TaskError,
    services::{Service, printed_by, server::Server},
};

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    let services = context.services(&[Service::Postgres])?;
    let server = Server::start(context.jobs, context.checkout, &services, &Vec::new())?;
    let venv = printed_by(context.checkout, "scripts/test/python.sh", &[])?;
    let modules = printed_by(context.checkout, "scripts/test/node.sh", &[])?;

    // The packages are in the cache, and Node looks for them beside the importing file: hence the copy.
    let folder = server.folder().join("node");
    fs::create_dir(&folder).map_err(TaskError::file(&folder))?;
    let tests = context.checkout.path("tests/clients");
    for entry in fs::read_dir(&tests)
        .map_err(TaskError::file(&tests))?
        .filter_map(Result::ok)
    {
        let name = entry.file_name();
        if name == "package.json" || name.to_string_lossy().ends_with(".mjs") {
            fs::copy(entry.path(), folder.join(&name)).map_err(TaskError::file(entry.path()))?;
        }
    }
    symlink(modules.join("node_modules"), folder.join("node_modules")).map_err(TaskError::file(&folder))?;

    let mut node = context.job(&venv.join("node/bin/node").to_string_lossy());
    node.args(["--test", "--test-timeout=120000"]).current_dir(&folder);
    let first = context.jobs.run(server.name_to(&mut node))?;
    let second = context.pytest(&services, &server, &["test_openai_python.py"], |_| ())?;
    Ok(closing(&server, first, second))
}
