//! Just enough HTTP/1.1 to find where a message ends, shared by both ends of the measurement.
//!
//! A full parser would cost the load side more than the gateway's own work, and the load side shares one core
//! with the upstream and the database.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use crate::cases::Caching;

/// How the receiver knows that the body is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
}

/// A received header block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Where the body starts.
    pub(crate) end: usize,
    pub(crate) framing: Framing,
}

impl Head {
    /// `None` until the whole block is there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let mut framing = Framing::Length(0);
        let mut start = 0;
        for newline in memchr_iter(b'\n', &bytes[..end]) {
            let line = &bytes[start..newline];
            start = newline + 1;
            if let Some(value) = value_of(line, b"content-length:") {
                let digits = value.iter().filter(|byte| byte.is_ascii_digit());
                framing = Framing::Length(digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')));
            } else if value_of(line, b"transfer-encoding:").is_some() {
                framing = Framing::Chunked;
            }
        }
        Some(Self { end, framing })
    }

    /// Whether `bytes`, which start with this header block, hold the whole body.
    ///
    /// For chunked bodies only the tail is looked at: no message follows unasked on these connections, and the
    /// bodies are JSON or SSE, in which a bare `0` line cannot occur.
    pub(crate) fn is_complete(&self, bytes: &[u8]) -> bool {
        match self.framing {
            Framing::Length(length) => bytes.len() >= self.end + length,
            Framing::Chunked => {
                let body = &bytes[self.end..];
                body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n")
            }
        }
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(value)
}

/// The seed of the first of those requests that are each another one; all have as many digits.
pub(crate) const FIRST_SEED: u64 = 100_000_000_000;

/// A keep-alive `POST /v1/chat/completions`, rendered once and sent as it is ever after, but for the seed of those that
/// are each another one: where that stands is given too.
pub(crate) fn chat_request(key: Option<&str>, streamed: bool, caching: Caching) -> (Vec<u8>, Option<Range<usize>>) {
    let seed = match caching {
        Caching::Bypass => String::new(),
        // Streams have an answer of their own to hit.
        Caching::Hit => format!(r#""seed":{},"#, u8::from(streamed)),
        Caching::Miss => format!(r#""seed":{FIRST_SEED},"#),
    };
    let stream = if streamed { r#""stream":true,"# } else { "" };
    let body = format!(
        concat!(
            r#"{{"model":"bench-model",{}{}"temperature":0.2,"messages":["#,
            r#"{{"role":"system","content":"You answer briefly and name your sources."}},"#,
            r#"{{"role":"user","content":"Which trees give the most syrup, and when are they tapped?"}}]}}"#
        ),
        stream, seed
    );
    let authorization = key.map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}\
         content-type: application/json\r\naccept: */*\r\nuser-agent: mapleai-bench\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    let digits = FIRST_SEED.to_string();
    let seed = memmem::find(&request, digits.as_bytes()).map(|start| start..start + digits.len());
    (request, seed)
}
