//! What a job prints.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::Jobs;
use crate::error::TaskError;

impl Jobs {
    /// What it prints within that time, whatever becomes of it.
    pub(crate) fn output(&self, command: &mut Command, limit: Duration) -> Result<String, TaskError> {
        self.output_and_status(command, limit).map(|(text, _)| text)
    }

    pub(crate) fn output_and_status(&self, command: &mut Command, limit: Duration) -> Result<(String, u8), TaskError> {
        let mut job = self.start(command.stdout(Stdio::piped()))?;
        let pipe = job.child.stdout.take();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            bytes
        });
        let status = job.wait(Some(limit))?;
        let bytes = reader.join().unwrap_or_default();
        Ok((String::from_utf8_lossy(&bytes).into_owned(), status))
    }
}
