//! Server-sent events (WHATWG HTML, section 9.2) as model servers use them: cutting a byte stream at event boundaries,
//! and reading along in OpenAI's chunks just far enough to meter them.

pub mod chunk;
pub mod said;
mod skim;

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memrchr2};

pub use chunk::{
    BodyUsage, ChunkInfo, ReportedUsage, TextReader, answer_text, delta_text, is_done, scan_chunk, usage_of_body,
};

/// Largest event that is held while its end is waited for, in bytes.
const LARGEST_EVENT: usize = 1024 * 1024;

/// Two CRLF, in bytes.
const LONGEST_BOUNDARY: usize = 4;

/// An event grew beyond what we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTooLarge;

/// Cuts what comes from the network into whole events. A chunk that ends where an event does, which is nearly every
/// chunk, passes without a copy.
#[derive(Debug, Default)]
pub struct EventSplitter {
    held: BytesMut,
}

impl EventSplitter {
    /// Takes a chunk and gives all events that are whole now.
    pub fn push(&mut self, chunk: Bytes) -> Result<Option<Bytes>, EventTooLarge> {
        if self.held.is_empty() {
            let end = last_boundary(&chunk);
            if end == chunk.len() {
                return Ok((end > 0).then_some(chunk));
            }
            self.hold(&chunk[end..])?;
            return Ok((end > 0).then(|| chunk.slice(..end)));
        }
        // What is held has no boundary, but its last bytes may be the beginning of one. Only from there on is searched, so
        // that a large event in many small pieces is not read over and over.
        let from = self.held.len().saturating_sub(LONGEST_BOUNDARY - 1);
        self.hold(&chunk)?;
        let end = last_boundary(&self.held[from..]);
        Ok((end > 0).then(|| self.held.split_to(from + end).freeze()))
    }

    /// What is left when the stream has ended: an event without its blank line, which some servers send.
    pub fn rest(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| self.held.split().freeze())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        if self.held.len() + bytes.len() > LARGEST_EVENT {
            return Err(EventTooLarge);
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

/// The place after the last blank line; 0 if there is none. Lines end with LF, CRLF or CR.
fn last_boundary(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while let Some(at) = memrchr2(b'\n', b'\r', &bytes[..end]) {
        let before = &bytes[..at];
        let blank = match bytes[at] {
            b'\n' => before.ends_with(b"\n") || before.ends_with(b"\n\r") || before.ends_with(b"\r\r"),
            // A CR that a LF follows is half of a line ending, and has been looked at with it.
            _ if bytes.get(at + 1) == Some(&b'\n') => false,
            // LF and CR at the end are most likely half of two CRLF: what follows decides.
            _ => before.ends_with(b"\r") || (before.ends_with(b"\n") && at + 1 < bytes.len()),
        };
        if blank {
            return at + 1;
        }
        end = at;
    }
    0
}

/// One event of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    range: Range<usize>,
    data: Cow<'a, [u8]>,
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
            self.at += length + ending;
            // A byte order mark may precede the first line.
            let line = if start == 0 && data.is_none() {
                line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
            } else {
                line
            };
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix(b"data:") {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let joined = data.to_mut();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                }
            }
        }
        Some(Event {
            range: start..self.at,
            data: data.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
