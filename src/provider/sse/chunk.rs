//! OpenAI's answer objects, read for what metering needs. Nothing is copied, and a field of another type than expected
//! means only that there is nothing to read.

mod content;
mod lenient;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::skim::Skim;
use crate::domain::tokens::TokenUsage;
use lenient::parsed;

pub use content::{answer_text, delta_text};

/// What one answer object, whole or a chunk of a stream, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the object")]
pub struct ChunkInfo {
    /// The upstream's own count.
    pub usage: Option<TokenUsage>,
    /// The usage chunk at the end of a stream has none.
    pub has_choices: bool,
    /// It is a list with something in it, as an answer with embeddings is.
    pub has_data: bool,
    /// Bytes of generated text: content, reasoning, refusals and arguments of tool calls, as JSON writes them; for estimates.
    pub text_bytes: usize,
    /// A finish reason was given.
    pub finished: bool,
    /// Choices that ended as an answer should: by themselves, at the length asked for, or with calls of tools.
    pub complete: u32,
    /// An error in place of an answer, which some servers send within a stream that began well.
    pub failed: bool,
}

/// Whether this is the marker that ends a stream.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Reads one answer object. What is not one says nothing.
pub fn scan_chunk(data: &[u8]) -> ChunkInfo {
    skimmed(data).unwrap_or_else(|| parsed(data))
}

/// Reads an object that looks like OpenAI's.
fn skimmed(data: &[u8]) -> Option<ChunkInfo> {
    let mut info = ChunkInfo::default();
    let mut skim = Skim::new(data);
    skim.object(|skim, key| match key {
        b"choices" => skim.array(|skim| {
            info.has_choices = true;
            choice(skim, &mut info)
        }),
        b"usage" => usage(skim, &mut info),
        b"data" => skim.array(|skim| {
            info.has_data = true;
            skim.skip()
        }),
        b"error" => {
            info.failed = !skim.null();
            if info.failed { skim.skip() } else { Some(()) }
        }
        _ => skim.skip(),
    })?;
    skim.is_over().then_some(info)
}

fn choice(skim: &mut Skim<'_>, info: &mut ChunkInfo) -> Option<()> {
    skim.object(|skim, key| match key {
        b"delta" | b"message" => object_or_null(skim, |skim, key| match key {
            b"content" | b"reasoning_content" | b"reasoning" | b"refusal" => text(skim, info),
            b"tool_calls" if !skim.null() => skim.array(|skim| {
                object_or_null(skim, |skim, key| match key {
                    b"function" => object_or_null(skim, |skim, key| match key {
                        b"arguments" => text(skim, info),
                        // Text where OpenAI has none: for the parser, which takes it from anywhere.
                        b"text" | b"function" => None,
                        _ => skim.skip(),
                    }),
                    b"text" | b"arguments" => None,
                    _ => skim.skip(),
                })
            }),
            b"tool_calls" => Some(()),
            _ => skim.skip(),
        }),
        b"finish_reason" if !skim.null() => {
            info.finished = true;
            let reason = skim.string()?;
            info.complete += u32::from(is_complete(reason));
            Some(())
        }
        b"finish_reason" => Some(()),
        _ => skim.skip(),
    })
}

fn is_complete(reason: &[u8]) -> bool {
    matches!(reason, b"stop" | b"length" | b"tool_calls")
}

fn object_or_null(skim: &mut Skim<'_>, field: impl FnMut(&mut Skim<'_>, &[u8]) -> Option<()>) -> Option<()> {
    if skim.null() { Some(()) } else { skim.object(field) }
}

fn text(skim: &mut Skim<'_>, info: &mut ChunkInfo) -> Option<()> {
    if !skim.null() {
        info.text_bytes += skim.string()?.len();
    }
    Some(())
}

fn usage(skim: &mut Skim<'_>, info: &mut ChunkInfo) -> Option<()> {
    let (mut input, mut output) = (None, None);
    object_or_null(skim, |skim, key| {
        let count = match key {
            b"prompt_tokens" => &mut input,
            b"completion_tokens" => &mut output,
            _ => return skim.skip(),
        };
        *count = if skim.null() { None } else { Some(skim.unsigned()?) };
        Some(())
    })?;
    info.usage = token_usage(input, output);
    Some(())
}

fn token_usage(input: Option<u64>, output: Option<u64>) -> Option<TokenUsage> {
    (input.is_some() || output.is_some()).then(|| TokenUsage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        estimated: false,
    })
}

/// What a whole answer says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyUsage {
    Reported(TokenUsage),
    /// Bytes of text, for an estimate.
    Unreported {
        text_bytes: usize,
    },
}

impl BodyUsage {
    pub fn reported(self) -> Option<TokenUsage> {
        match self {
            Self::Reported(usage) => Some(usage),
            Self::Unreported { .. } => None,
        }
    }
}

/// What a whole answer, of chat or embeddings, reports.
pub fn usage_of_body(body: &[u8]) -> BodyUsage {
    if let Some(usage) = usage_at_end(body) {
        return BodyUsage::Reported(usage);
    }
    let info = scan_chunk(body);
    info.usage.map_or(
        BodyUsage::Unreported {
            text_bytes: info.text_bytes,
        },
        BodyUsage::Reported,
    )
}

/// Where usage is looked for first, in bytes: servers report it after the answer.
const END: usize = 1024;
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// The usage that an answer ends with, found without reading what is before it. A key is not mistaken for one of another
/// depth: what follows must end the whole object. Nor for a text that has the word in it: there the quotes are escaped.
fn usage_at_end(body: &[u8]) -> Option<TokenUsage> {
    let end = &body[body.len().saturating_sub(END)..];
    let at = USAGE.find(end)?;
    if end[..at].last() == Some(&b'\\') {
        return None;
    }
    let mut info = ChunkInfo::default();
    let mut skim = Skim::new(&end[at..]);
    skim.fields(|skim, key| match key {
        b"usage" => usage(skim, &mut info),
        _ => skim.skip(),
    })?;
    skim.is_over().then_some(info.usage)?
}

#[cfg(test)]
mod tests;
