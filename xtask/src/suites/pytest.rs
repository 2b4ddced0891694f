//! pytest, which leaves nothing behind in the checkout.

use std::process::Command;

use super::Context;
use crate::{
    error::TaskError,
    services::{Services, printed_by, server::Server},
};

impl Context<'_> {
    /// Runs tests of clients, against a started server.
    pub(super) fn pytest(
        &self,
        services: &Services,
        server: &Server,
        files: &[&str],
        more: impl FnOnce(&mut Command),
    ) -> Result<u8, TaskError> {
        let mut command = self.pytest_command(services, server, files)?;
        more(&mut command);
        self.jobs.run(&mut command)
    }

    pub(super) fn pytest_command(
        &self,
        services: &Services,
        server: &Server,
        files: &[&str],
    ) -> Result<Command, TaskError> {
        let python = printed_by(self.checkout, "scripts/test/python.sh", &[])?.join("bin/python");
        let mut command = self.job(&python.to_string_lossy());
        command.args(["-m", "pytest", "-c", "tests/clients/pytest.ini", "--rootdir"]);
        command
            .arg(self.checkout.path("tests/clients"))
            .arg("--basetemp")
            .arg(server.folder().join("pytest"));
        command
            .args(files.iter().map(|file| format!("tests/clients/{file}")))
            .args(self.arguments);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        server.name_to(services.name_to(&mut command));
        Ok(command)
    }
}
