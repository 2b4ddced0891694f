//! A backup before the schema changes: made by the program that configuration names, shown by what it says last.

use std::{
    io::{self, Read as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use configuration::Config;
use domain::clock::Clock;

/// More output than this is none that a backup's program has reason for.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
const MAX_LABEL_BYTES: usize = 200;
/// Between two looks whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Clocks differ.
const MAX_AHEAD: TimeDelta = TimeDelta::minutes(1);

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("migrations.backup_command is empty, and no --backup was given")]
    NoCommand,
    #[error("{0:?} cannot be run")]
    Run(String, #[source] io::Error),
    #[error("{0:?} ended with {1}")]
    Failed(String, std::process::ExitStatus),
    #[error("{0:?} has not ended within database.migrate_timeout, {1:?}, and was killed")]
    TooLate(String, Duration),
    #[error("{0:?} has written more than a backup's program has reason to")]
    TooLong(String),
    #[error("the last line, {0:?}, is not {{\"label\": \"…\", \"completed_at\": \"2026-01-01T00:00:00Z\"}}")]
    Form(String, #[source] serde_json::Error),
    #[error("a label has 1 to {MAX_LABEL_BYTES} bytes")]
    Label,
    #[error("backup {label:?} was completed at {completed_at}, longer ago than migrations.backup_max_age, {max_age:?}")]
    TooOld {
        label: String,
        completed_at: DateTime<Utc>,
        max_age: Duration,
    },
    #[error("backup {label:?} is completed at {completed_at}, which has not come yet")]
    Ahead { label: String, completed_at: DateTime<Utc> },
}

#[derive(Deserialize)]
struct Evidence {
    label: String,
    completed_at: DateTime<Utc>,
}

/// Runs the program and reads its last line. Its exit code alone is no evidence.
pub(super) async fn make(config: &Config) -> Result<String, BackupError> {
    let Some((program, arguments)) = config.migrations.backup_command.split_first() else {
        return Err(BackupError::NoCommand);
    };
    tracing::info!(target: "mapleai::lifecycle", program, "a backup is made before the schema changes");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("DATABASE_URL", config.database.url.expose_secret());
    let (name, limit) = (program.clone(), config.database.migrate_timeout);
    let running = tokio::task::spawn_blocking(move || output_of(command, name, limit));
    let output = running
        .await
        .unwrap_or_else(|error| Err(BackupError::Run(program.clone(), io::Error::other(error))))?;
    let last = output.lines().rev().find(|line| !line.trim().is_empty());
    read(
        last.unwrap_or_default(),
        config.migrations.backup_max_age,
        Clock::system().now(),
    )
}

/// What it writes until it ends. One that has not ended in time is killed.
fn output_of(mut command: Command, name: String, limit: Duration) -> Result<String, BackupError> {
    let started = Instant::now();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Err(BackupError::Run(name, error)),
    };
    let stdout = child.stdout.take();
    let reading = thread::spawn(move || {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut output)?;
        }
        Ok::<_, io::Error>(output)
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < limit => thread::sleep(POLL_INTERVAL),
            outcome => {
                // It may have ended by itself meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                return Err(match outcome {
                    Err(error) => BackupError::Run(name, error),
                    Ok(_) => BackupError::TooLate(name, limit),
                });
            }
        }
    };
    if !status.success() {
        return Err(BackupError::Failed(name, status));
    }
    match reading.join() {
        Ok(Ok(output)) if output.len() as u64 > MAX_OUTPUT_BYTES => Err(BackupError::TooLong(name)),
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&output).into_owned()),
        Ok(Err(error)) => Err(BackupError::Run(name, error)),
        Err(_) => Err(BackupError::Run(name, io::Error::other("its output could not be read"))),
    }
}

/// The evidence in a line, in a form that is always the same.
pub(super) fn read(line: &str, max_age: Duration, now: DateTime<Utc>) -> Result<String, BackupError> {
    let shown: String = line.chars().take(200).collect();
    let evidence: Evidence = serde_json::from_str(line).map_err(|error| BackupError::Form(shown, error))?;
    let Evidence { label, completed_at } = evidence;
    if label.trim().is_empty() || label.len() > MAX_LABEL_BYTES {
        return Err(BackupError::Label);
    }
    if completed_at > now + MAX_AHEAD {
        return Err(BackupError::Ahead { label, completed_at });
    }
    let max = TimeDelta::from_std(max_age).unwrap_or(TimeDelta::MAX);
    if now - completed_at > max {
        return Err(BackupError::TooOld {
            label,
            completed_at,
            max_age,
        });
    }
    Ok(serde_json::json!({"label": label, "completed_at": completed_at}).to_string())
}

#[cfg(test)]
mod tests {
    use super::{BackupError, read};
    use chrono::{DateTime, TimeDelta, Utc};
    use std::time::Duration;

    #[test]
    fn evidence_is_a_label_and_a_time_that_is_not_long_ago() {
        let now: DateTime<Utc> = "2026-01-02T00:00:00Z".parse().unwrap();
        let line =
            |at: DateTime<Utc>| serde_json::json!({"label": "nightly-7", "completed_at": at, "size": 3}).to_string();
        let hour = Duration::from_hours(1);
        let kept = read(&line(now - TimeDelta::minutes(59)), hour, now).unwrap();
        assert!(
            kept.contains("nightly-7") && kept.contains("2026-01-01T23:01:00Z"),
            "{kept}"
        );
        assert!(matches!(
            read(&line(now - TimeDelta::minutes(61)), hour, now),
            Err(BackupError::TooOld { .. })
        ));
        assert!(matches!(
            read(&line(now + TimeDelta::minutes(2)), hour, now),
            Err(BackupError::Ahead { .. })
        ));
        assert!(matches!(
            read(r#"{"label": " ", "completed_at": "2026-01-02T00:00:00Z"}"#, hour, now),
            Err(BackupError::Label)
        ));
        for line in [
            "",
            "done",
            "{}",
            r#"{"label": "x"}"#,
            r#"{"label": "x", "completed_at": "yesterday"}"#,
        ] {
            assert!(matches!(read(line, hour, now), Err(BackupError::Form(..))), "{line}");
        }
    }
}
