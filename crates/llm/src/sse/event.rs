//! One event after the other: what its lines say, and where it ends.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use serde::de::IgnoredAny;

use super::{MARK, is_done};

/// What a line says of the event's data. A line of bare JSON is taken for data as well: it is how some servers tell of an
/// error in a stream.
pub(super) fn value_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data:") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        None => line.starts_with(b"{").then_some(line),
    }
}

/// Whether the value of one line is all of a chunk, so that another line is another event.
pub(super) fn is_whole(value: &[u8]) -> bool {
    let is_object = value.starts_with(b"{") && value.trim_ascii_end().ends_with(b"}");
    (is_object && serde_json::from_slice::<IgnoredAny>(value).is_ok()) || is_done(value)
}

/// One event of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    range: Range<usize>,
    data: Cow<'a, [u8]>,
    is_error: bool,
    is_regular: bool,
}

impl Event<'_> {
    /// Where it lies in its item, blank line included.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Its `data` lines, joined by LF; empty for a comment.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// It is named `error`.
    pub fn is_error(&self) -> bool {
        self.is_error
    }
}

/// The item with each of its events as the standard has it, ended by a blank line and with its data behind `data:`. `None`
/// if they all are so.
pub fn regular(item: &[u8]) -> Option<Bytes> {
    if events(item).all(|event| event.is_regular) {
        return None;
    }
    let mut out = BytesMut::with_capacity(item.len() + 64);
    for event in events(item) {
        let text = &item[event.range()];
        if event.is_regular {
            out.extend_from_slice(text);
            continue;
        }
        write_regular(text, &mut out);
    }
    Some(out.freeze())
}

/// Line by line: data of several bare lines stays one event's.
fn write_regular(text: &[u8], out: &mut BytesMut) {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let length = text.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1);
    let text = &text[..length];
    let bare = text.strip_prefix(MARK).filter(|text| text.starts_with(b"{"));
    for line in bare.unwrap_or(text).split_inclusive(is_end) {
        if line.starts_with(b"{") {
            out.extend_from_slice(b"data: ");
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b"\n\n");
}

/// The events of an item that the splitter gave.
pub fn events(item: &[u8]) -> Events<'_> {
    Events { item, at: 0 }
}

/// See [`events`].
#[derive(Debug, Clone)]
pub struct Events<'a> {
    item: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let start = self.at;
        if start >= self.item.len() {
            return None;
        }
        let mut data: Option<Cow<'a, [u8]>> = None;
        // The value of the last line that had one.
        let mut last: &[u8] = b"";
        let (mut is_error, mut is_regular) = (false, false);
        let mut is_bare = false;
        loop {
            let rest = &self.item[self.at..];
            if rest.is_empty() {
                break;
            }
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..length];
            let ending = if rest[length..].starts_with(b"\r\n") {
                2
            } else {
                usize::from(length < rest.len())
            };
            // A byte order mark may precede the first line.
            let line = if self.at == 0 {
                line.strip_prefix(MARK).unwrap_or(line)
            } else {
                line
            };
            if line.is_empty() {
                self.at += length + ending;
                is_regular = !is_bare;
                break;
            }
            if let Some(value) = value_of(line) {
                if data.is_some() && is_whole(last) {
                    break;
                }
                last = value;
                is_bare |= line.starts_with(b"{");
                match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let joined = data.to_mut();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                }
            } else if let Some(name) = line.strip_prefix(b"event:") {
                if data.is_some() && is_whole(last) {
                    break;
                }
                is_error = name.trim_ascii() == b"error";
            }
            self.at += length + ending;
        }
        Some(Event {
            range: start..self.at,
            data: data.unwrap_or_default(),
            is_error,
            is_regular,
        })
    }
}

/// Whether the last event is ended as the standard has it.
pub fn ends_with_blank_line(events: &[u8]) -> bool {
    [&b"\n\n"[..], b"\r\r", b"\n\r\n"]
        .iter()
        .any(|blank| events.ends_with(blank))
}

/// Whether the last event is `data: [DONE]`.
pub fn ends_with_mark(events: &[u8]) -> bool {
    let before = events.trim_ascii_end().strip_suffix(b"[DONE]");
    before.is_some_and(|before| before.trim_ascii_end().ends_with(b"data:"))
}
