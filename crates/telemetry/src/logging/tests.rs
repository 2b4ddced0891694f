use super::{LogControl, colours_wanted, subscriber};
use crate::context::{LogContext, within_sync};
use configuration::{LogConfig, log::LogFormat};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
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

fn logged(level: &str, format: LogFormat, events: impl FnOnce(&LogControl)) -> String {
    let buffer = Buffer::default();
    let config = LogConfig {
        level: level.to_owned(),
        format,
        file: None,
    };
    let (subscriber, control) = subscriber(&config, buffer.clone(), false).unwrap();
    tracing::subscriber::with_default(subscriber, || events(&control));
    String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn json_lines_are_flat_and_carry_the_fields_of_their_spans() {
    let text = logged("info", LogFormat::Json, |_| {
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
    let text = logged("info", LogFormat::Json, |_| {
        tracing::info!(level = "none", time = "never", "real");
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"real".into()));
    assert_ne!(line["time"], "never");
    assert_eq!(line["field.level"], "none");
}

#[test]
fn what_the_filter_refuses_is_not_even_evaluated() {
    let text = logged("warn,mapleai::chosen=debug", LogFormat::Json, |_| {
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
    let text = logged("info", LogFormat::Pretty, |_| tracing::info!(port = 3000, "listening"));
    assert!(text.contains("INFO") && text.contains("listening port=3000"), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
}

#[test]
fn security_and_lifecycle_are_told_at_every_level() {
    for level in ["off", "error", "warn,mapleai=error"] {
        let text = logged(level, LogFormat::Json, |_| {
            tracing::info!(target: "mapleai::security", "signed in");
            tracing::info!(target: "mapleai::lifecycle", phase = 1, "stopping");
            tracing::info!(target: "mapleai::http", "request answered");
        });
        assert_eq!(text.lines().count(), 2, "{level}: {text}");
    }
}

#[test]
fn lines_of_a_request_say_whose_they_are() {
    let context = || {
        let context = LogContext::new(
            "r-1".into(),
            Some("trace".into()),
            std::net::Ipv4Addr::LOCALHOST.into(),
            "GET",
            "/api/keys/{id}".into(),
        );
        context.note_caller(Some(uuid::Uuid::from_u128(1)), None);
        Arc::new(context)
    };
    let text = logged("warn", LogFormat::Json, |_| {
        within_sync(context(), || tracing::warn!(route = "own", "inside"));
        tracing::warn!("outside");
    });
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["request_id"], "r-1");
    assert_eq!(lines[0]["trace_id"], "trace");
    assert_eq!(lines[0]["method"], "GET");
    assert_eq!(lines[0]["route"], "own", "the event's own field wins");
    assert_eq!(lines[0]["organization_id"], "00000000-0000-0000-0000-000000000001");
    assert!(lines[0].get("user_id").is_none() && lines[1].get("request_id").is_none());
    let text = logged("warn", LogFormat::Pretty, |_| {
        within_sync(context(), || tracing::warn!("inside"));
    });
    assert!(
        text.ends_with("organization_id=00000000-0000-0000-0000-000000000001\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn the_level_can_be_changed_and_falls_back() {
    let text = logged("warn", LogFormat::Json, |control| {
        tracing::info!("before");
        control.set("info", Some(Duration::ZERO)).unwrap();
        tracing::info!("during");
        assert_eq!(control.current().0, "info");
        control.set("loud", None).unwrap_err();
        control.restore_if_over();
        tracing::info!("after");
        assert_eq!((control.current().0.as_str(), control.configured()), ("warn", "warn"));
    });
    let levels: Vec<&str> = text.lines().filter(|line| line.contains("during")).collect();
    assert_eq!(levels.len(), 1);
    assert!(!text.contains("before") && !text.contains("after"), "{text}");
}

#[test]
fn colours_are_left_out_where_the_person_or_the_terminal_wants_none() {
    let wanted = |set: &[(&str, &str)]| {
        colours_wanted(|name| {
            set.iter()
                .find(|(logged, _)| *logged == name)
                .map(|(_, value)| (*value).to_owned())
        })
    };
    assert!(wanted(&[("TERM", "xterm")]));
    assert!(wanted(&[("TERM", "xterm"), ("NO_COLOR", "")]));
    assert!(!wanted(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
    assert!(!wanted(&[("TERM", "dumb")]));
}
