//! The log: one subscriber for the process, in the form that the environment's readers want.
//!
//! Nothing is formatted for an event that the filter refuses; at `warn` a request that goes well costs a few loads of
//! atomics. Lines are written by a thread of their own: a collector that stops reading, or a disk that hangs, costs
//! lines, which are counted, and never a request.

mod control;
mod json;
mod pretty;
mod sink;

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing::Subscriber;
use tracing_subscriber::{fmt, fmt::MakeWriter, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use configuration::{LogConfig, log::LogFormat};
pub use control::{LevelError, LogControl, control};
pub use sink::LogGuard;

/// Lines that were lost since the start.
pub fn lost_lines() -> u64 {
    sink::lost()
}

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("\"{0}\" is not a log level or filter")]
    Level(String),
    #[error(transparent)]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Installs the process's log. Lines that are still on their way are written when the guard is dropped. A second call is
/// an error.
pub fn init(config: &LogConfig) -> Result<LogGuard, LoggingError> {
    let (writer, guard, trouble) = sink::open(config.file.as_deref());
    let colours = config.file.is_none() && io::stdout().is_terminal() && colours_wanted(|name| env::var(name).ok());
    let (subscriber, control) = subscriber(config, writer, colours)?;
    subscriber.try_init()?;
    control::install(control);
    if let Some(error) = trouble {
        tracing::error!(target: "mapleai::lifecycle", error = %error, file = config.file.as_deref().unwrap_or_default(), "the log file cannot be written; the log goes to standard output");
    }
    Ok(guard)
}

/// NO_COLOR that is not empty (no-color.org) and a terminal that knows no escape sequences want none.
fn colours_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty()) && variable("TERM").is_none_or(|term| term != "dumb")
}

fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    colours: bool,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogControl), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = config
        .filter()
        .ok_or_else(|| LoggingError::Level(config.level.clone()))?;
    let (filter, handle) = reload::Layer::new(filter);
    let control = LogControl::new(config.level.clone(), handle);
    // The filter is the whole subscriber's, not the layer's: a per-layer filter keeps state per thread between asking and
    // recording, which a task that moves between the two leaves behind for the next event, and lines go missing.
    let filtered = tracing_subscriber::registry().with(filter);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match config.format {
        LogFormat::Pretty => Box::new(
            filtered.with(
                fmt::layer()
                    .with_writer(writer)
                    .with_ansi(colours)
                    .event_format(pretty::WithRequest::default()),
            ),
        ),
        LogFormat::Json => Box::new(filtered.with(json::JsonLines::new(writer))),
    };
    Ok((subscriber, control))
}

#[cfg(test)]
mod tests;
