//! The log: one subscriber for the process, in the form that the environment's readers want.
//!
//! Nothing is formatted for an event or a span that the filter refuses; at `warn` a request that goes well costs a few
//! loads of atomics.

mod json;

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::{fmt, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{LogConfig, log::LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("\"{0}\" is not a log level or filter")]
    Level(String),
    #[error(transparent)]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Installs the process's log on standard output. A second call is an error.
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    Ok(subscriber(config, io::stdout, io::stdout().is_terminal())?.try_init()?)
}

fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    colours: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = config
        .filter()
        .ok_or_else(|| LoggingError::Level(config.level.clone()))?;
    // The filter is the whole subscriber's, not the layer's: a per-layer filter keeps state per thread between asking and
    // recording, which a task that moves between the two leaves behind for the next event, and lines go missing.
    let filtered = tracing_subscriber::registry().with(filter);
    Ok(match config.format {
        LogFormat::Pretty => Box::new(filtered.with(fmt::layer().with_writer(writer).with_ansi(colours))),
        LogFormat::Json => Box::new(filtered.with(json::JsonLines::new(writer))),
    })
}

#[cfg(test)]
mod tests {
    use super::subscriber;
    use crate::config::{LogConfig, log::LogFormat};
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Buffer {
        type Writer = Self;
        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    fn logged(level: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let config = LogConfig {
            level: level.to_owned(),
            format,
        };
        tracing::subscriber::with_default(subscriber(&config, buffer.clone(), false).unwrap(), events);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_are_flat_and_carry_the_fields_of_their_spans() {
        let text = logged("info", LogFormat::Json, || {
            let outer = tracing::info_span!("request", request_id = "r-1", route = tracing::field::Empty, status = 1);
            outer.record("route", "/api/users/{id}");
            let _outer = outer.enter();
            let _inner = tracing::info_span!("store", table = "users").entered();
            let cause = io::Error::other("line one\nline \"two\"");
            tracing::warn!(target: "mapleai::http", status = 503_u16, retry = true, cause = &cause as &dyn std::error::Error, "not\navailable");
            tracing::info!(count = u64::MAX, ratio = f64::NAN, "second");
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        let first = &lines[0];
        assert_eq!(first["level"], "WARN");
        assert_eq!(first["target"], "mapleai::http");
        assert_eq!(first["message"], "not\navailable");
        assert_eq!(first["request_id"], "r-1");
        assert_eq!(first["route"], "/api/users/{id}");
        assert_eq!(first["table"], "users");
        assert_eq!(first["status"], 503, "the event's own field wins");
        assert_eq!(first["retry"], true);
        assert_eq!(first["cause"], "line one\nline \"two\"");
        assert!(
            first["time"].as_str().is_some_and(|time| time.ends_with('Z')),
            "{first}"
        );
        assert_eq!(lines[1]["count"], u64::MAX);
        assert_eq!(lines[1]["status"], 1);
    }

    #[test]
    fn fields_cannot_pass_for_the_line_s_own() {
        let text = logged("info", LogFormat::Json, || {
            tracing::info!(level = "none", time = "never", "real");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"real".into()));
        assert_ne!(line["time"], "never");
        assert_eq!(line["field.level"], "none");
    }

    #[test]
    fn what_the_filter_refuses_is_not_even_evaluated() {
        let text = logged("warn,mapleai::chosen=debug", LogFormat::Json, || {
            tracing::info!(
                value = {
                    assert!(std::hint::black_box(false), "evaluated");
                    1
                },
                "refused"
            );
            tracing::debug!(target: "mapleai::chosen", "kept");
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("kept"));
    }

    #[test]
    fn pretty_is_for_people() {
        let text = logged("info", LogFormat::Pretty, || tracing::info!(port = 3000, "listening"));
        assert!(text.contains("INFO") && text.contains("listening port=3000"), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
    }
}
