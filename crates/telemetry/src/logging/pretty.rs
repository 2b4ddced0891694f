//! Lines for people: as `tracing` writes them, with the request they belong to at the end.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Writer},
    },
    registry::LookupSpan,
};

use crate::context;

#[derive(Default)]
pub(super) struct WithRequest(Format);

impl<S, N> FormatEvent<S, N> for WithRequest
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        let colours = writer.has_ansi_escapes();
        let format = self.0.clone().with_ansi(colours);
        format.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(line.trim_end_matches('\n'))?;
        let mut outcome = Ok(());
        context::with_current(|request| {
            request.for_each(|name, value| {
                if outcome.is_ok() {
                    outcome = write!(writer, " {name}={value}");
                }
            });
        });
        outcome?;
        writer.write_char('\n')
    }
}
