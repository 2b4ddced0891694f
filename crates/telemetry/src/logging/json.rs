//! One JSON object a line, flat: `time`, `level`, `target`, `message`, then the fields of the event and of the spans it
//! happened in. Collectors index flat objects without being told how, which `tracing_subscriber`'s nested spans need.

use std::{error::Error, fmt, io::Write as _};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

use crate::context;

/// Keys of the line itself; a field of one of these names is written as `field.<name>`.
const OWN_KEYS: [&str; 4] = ["time", "level", "target", "message"];

pub(super) struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// Kept with a span until it closes.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields(Map::new());
            attributes.record(&mut Collect {
                into: &mut fields.0,
                own_message: false,
            });
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(&mut Collect {
                into: &mut fields.0,
                own_message: false,
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Map::new();
        let mut time = String::new();
        // A clock that cannot be written leaves the time empty rather than losing the line.
        _ = SystemTime.format_time(&mut Writer::new(&mut time));
        line.insert("time".to_owned(), time.into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        for span in context
            .event_scope(event)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.0.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        context::with_current(|request| {
            request.for_each(|name, value| {
                line.insert(name.to_owned(), value.into());
            });
        });
        event.record(&mut Collect {
            into: &mut line,
            own_message: true,
        });
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            // One write, so that lines of several threads do not mix. A log that cannot be written has nowhere to say so.
            _ = self.writer.make_writer_for(metadata).write_all(&text);
        }
    }
}

struct Collect<'m> {
    into: &'m mut Map<String, Value>,
    /// Events carry the line's message; a span's field of that name is only a field.
    own_message: bool,
}

impl Collect<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let taken = OWN_KEYS.contains(&name) && !(self.own_message && name == "message");
        let key = if taken {
            format!("field.{name}")
        } else {
            name.to_owned()
        };
        self.into.insert(key, value);
    }
}

impl Visit for Collect<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.insert(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}
