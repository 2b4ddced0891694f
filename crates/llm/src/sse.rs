//! Server-sent events (WHATWG HTML, section 9.2) as model servers use them: a byte stream is cut at event boundaries.

mod event;
mod progress;

use bytes::{Bytes, BytesMut};
use memchr::memrchr2;

use event::{is_whole, value_of};

pub use event::{Event, Events, ends_with_blank_line, ends_with_mark, events, regular};
pub use progress::{Progress, progress};

/// Largest event that is held while its end is waited for, in bytes: what an answer that is not streamed may have. A
/// picture, or the arguments of a call of a tool, may come in one event.
pub const MAX_EVENT: usize = 32 * 1024 * 1024;

/// White space before a body is read so far, in bytes, for the first bytes that tell what it is.
const MAX_BLANK: usize = 4 * 1024;

/// What the caller of a stream is sent while the upstream says nothing: a comment, which readers of events pass over.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Two CRLF, in bytes.
const MAX_BOUNDARY_BYTES: usize = 4;

/// An event grew beyond what we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTooLarge;

/// Cuts what comes from the network into whole events. A chunk that ends where an event does, which is nearly every
/// chunk, passes without a copy.
#[derive(Debug, Default)]
pub struct EventSplitter {
    buffered: BytesMut,
}

impl EventSplitter {
    /// Takes a chunk and gives all events that are whole now. `room` is how many bytes may be held beyond what is small (0: that is
    /// nobody's concern): a large event is held in so many, and in no more.
    pub fn push(&mut self, chunk: Bytes, room: usize) -> Result<Option<Bytes>, EventTooLarge> {
        if self.buffered.is_empty() {
            let end = last_boundary(&chunk);
            if end == chunk.len() || ends_with_whole_line(&chunk[end..]) {
                return Ok((!chunk.is_empty()).then_some(chunk));
            }
            self.hold(&chunk[end..], 0)?;
            return Ok((end > 0).then(|| chunk.slice(..end)));
        }
        // What is held has no boundary, but its last bytes may be the beginning of one. Only from there on is searched, so
        // that a large event in many small pieces is not read over and over.
        let from = self.buffered.len().saturating_sub(MAX_BOUNDARY_BYTES - 1);
        self.hold(&chunk, room)?;
        let end = last_boundary(&self.buffered[from..]);
        let end = if end > 0 { from + end } else { 0 };
        if ends_with_whole_line(&self.buffered[end..]) {
            return Ok(self.rest());
        }
        if end == 0 {
            return Ok(None);
        }
        let whole = self.buffered.split_to(end).freeze();
        if room > 0 {
            // What is left is a part of the same memory, and would hold all of it.
            self.buffered = BytesMut::from(&self.buffered[..]);
        }
        Ok(Some(whole))
    }

    /// What is left when the stream has ended: an event without its blank line, which some servers send.
    pub fn rest(&mut self) -> Option<Bytes> {
        (!self.buffered.is_empty()).then(|| std::mem::take(&mut self.buffered).freeze())
    }

    /// How many bytes wait for the end of their event.
    pub fn buffered(&self) -> usize {
        self.buffered.len()
    }

    fn hold(&mut self, bytes: &[u8], room: usize) -> Result<(), EventTooLarge> {
        let length = self.buffered.len() + bytes.len();
        if length > MAX_EVENT {
            return Err(EventTooLarge);
        }
        if room > self.buffered.capacity() && length > self.buffered.capacity() {
            let mut larger = BytesMut::with_capacity(room);
            larger.extend_from_slice(&self.buffered);
            self.buffered = larger;
        }
        self.buffered.extend_from_slice(bytes);
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

/// Whether the last line is an event by itself. Some servers part their events by one line end only (songquanpeng/one-api
/// #277): strictly none of them ends before the stream does.
fn ends_with_whole_line(bytes: &[u8]) -> bool {
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return false;
    };
    let lines = lines.strip_suffix(b"\r").unwrap_or(lines);
    let start = memrchr2(b'\n', b'\r', lines).map_or(0, |at| at + 1);
    let line = &lines[start..];
    value_of(line.strip_prefix(MARK).unwrap_or(line)).is_some_and(is_whole)
}

/// Whether this is the marker that ends a stream.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii().eq_ignore_ascii_case(b"[DONE]")
}

/// A byte order mark.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a body is a stream of events, by its first bytes; `None` if they do not tell yet. The content type does not:
/// servers and proxies send events under any.
pub fn begins_as_events(body: &[u8]) -> Option<bool> {
    const STARTS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
    let text = body.strip_prefix(MARK).unwrap_or(body).trim_ascii_start();
    if STARTS.iter().any(|start| text.starts_with(start)) {
        return Some(true);
    }
    let is_undecided = STARTS.iter().any(|start| start.starts_with(text)) || MARK.starts_with(text);
    (!is_undecided || body.len() > MAX_BLANK).then_some(false)
}

#[cfg(test)]
mod tests;
