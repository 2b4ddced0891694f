//! OpenAI's answer objects, read for what metering needs. Nothing is copied, and a field of another type than expected
//! means only that there is nothing to read.

mod beginning;
mod body;
mod content;
mod lenient;
mod skim;
mod usage;

use lenient::parsed;
use skim::Skim;
use usage::Counts;

pub use beginning::Beginning;
pub use body::{BodyUsage, usage_of_body};
pub use content::{TextReader, answer_text, delta_text};
pub use usage::ReportedUsage;

/// What one answer object, whole or a chunk of a stream, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the object")]
pub struct ChunkInfo {
    /// The upstream's own counts.
    pub usage: Option<ReportedUsage>,
    /// The usage chunk at the end of a stream has none.
    pub has_choices: bool,
    /// It is a list with something in it, as an answer with embeddings is.
    pub has_data: bool,
    /// Bytes of generated text: content, reasoning, refusals and arguments of tool calls, as JSON writes them; for estimates.
    pub text_bytes: usize,
    /// There is something in it for who asked: content or a refusal that is more than white space, or a call of a tool.
    pub has_substance: bool,
    /// Choices that were given a finish reason.
    pub finished: u32,
    /// Choices that ended as an answer should: by themselves, at the length asked for, or with calls of tools.
    pub complete: u32,
    /// An error in place of an answer, which some servers send within a stream that began well.
    pub failed: bool,
    /// No JSON: words, or a half of something. In a stream that is an error too: TensorRT-LLM writes the words of one so.
    pub is_malformed: bool,
}

/// Reads one answer object. What is not one says nothing.
pub fn scan_chunk(data: &[u8]) -> ChunkInfo {
    skimmed(data, None).unwrap_or_else(|| parsed(data))
}

/// Reads the next object of a stream whose objects have begun so.
pub fn scan_next_chunk(data: &[u8], beginning: &mut Beginning) -> ChunkInfo {
    skimmed(data, Some(beginning)).unwrap_or_else(|| parsed(data))
}

/// What is said of an object as a whole. Servers tell of an error in as many ways: OpenAI's `error`, `"object": "error"` (vLLM), `"type": "error"`,
/// and a `detail` or `message` where the choices should be (FastAPI).
#[derive(Default, PartialEq)]
struct Signs {
    is_error: bool,
    has_choices_field: bool,
    has_detail: bool,
    within_choices: Option<ReportedUsage>,
    of_object: Option<ReportedUsage>,
}

impl Signs {
    fn conclude(self, info: &mut ChunkInfo) {
        info.usage = self.of_object.or(self.within_choices);
        let is_none = !self.has_choices_field && !info.has_data && info.usage.is_none();
        info.failed |= self.is_error || (is_none && self.has_detail);
    }
}

/// What one choice has, of a stream under `delta`, whole under `message`.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    text_bytes: usize,
    has_substance: bool,
}

impl ChunkInfo {
    /// Some servers send all of the text so far as a `message` beside each `delta` (Perplexity, BerriAI/litellm #8455): that is no further text.
    fn add(&mut self, delta: Option<Part>, message: Option<Part>) {
        let part = delta.or(message).unwrap_or_default();
        self.text_bytes += part.text_bytes;
        self.has_substance |= part.has_substance;
    }

    fn add_reason(&mut self, reason: &[u8]) {
        self.complete += u32::from(is_complete(reason));
        // OpenRouter's, beside an `error` in the choice.
        self.failed |= reason == b"error";
    }
}

/// Reads an object that looks like OpenAI's, of a stream whose objects have begun so.
fn skimmed(data: &[u8], beginning: Option<&mut Beginning>) -> Option<ChunkInfo> {
    let mut skim = Skim::new(data);
    let mut reading = Reading::default();
    match beginning {
        Some(beginning) if beginning.is_of(data) => {
            skim.advance(beginning.len());
            reading.field(&mut skim, b"choices")?;
            if skim.more(b'}')? {
                skim.fields(|skim, key| reading.field(skim, key))?;
            }
        }
        beginning => {
            skim.object(|skim, key| reading.field(skim, key))?;
            if let Some((beginning, choices)) = beginning.zip(reading.choices) {
                beginning.set(&data[..choices]);
            }
        }
    }
    let Reading { mut info, signs, .. } = reading;
    signs.conclude(&mut info);
    skim.is_over().then_some(info)
}

/// What has been read of an object.
#[derive(Default)]
struct Reading {
    info: ChunkInfo,
    signs: Signs,
    /// Where the value of `choices` begins, if nothing before it said anything.
    choices: Option<usize>,
}

impl Reading {
    fn field(&mut self, skim: &mut Skim<'_>, key: &[u8]) -> Option<()> {
        let Self { info, signs, choices } = self;
        match key {
            b"choices" => {
                if *info == ChunkInfo::default() && *signs == Signs::default() {
                    *choices = Some(skim.at());
                }
                signs.has_choices_field = true;
                skim.array(|skim| {
                    info.has_choices = true;
                    choice(skim, info, signs)
                })
            }
            b"usage" => {
                signs.of_object = Counts::skim(skim)?.reported();
                Some(())
            }
            b"data" => skim.array(|skim| {
                info.has_data = true;
                skim.skip()
            }),
            b"error" => {
                signs.is_error |= !skim.is_blank()?;
                Some(())
            }
            b"object" | b"type" => {
                signs.is_error |= skim.value()? == br#""error""#;
                Some(())
            }
            b"detail" | b"message" => {
                signs.has_detail |= !skim.is_blank()?;
                Some(())
            }
            _ => skim.skip(),
        }
    }
}

fn choice(skim: &mut Skim<'_>, info: &mut ChunkInfo, signs: &mut Signs) -> Option<()> {
    let (mut delta, mut message) = (None, None);
    skim.object(|skim, key| match key {
        b"delta" => {
            delta = None;
            part(skim, &mut delta)
        }
        b"message" => {
            message = None;
            part(skim, &mut message)
        }
        // Some servers write an empty one into every chunk (adolfousier/opencrabs #1499).
        b"finish_reason" if !skim.null() => {
            let reason = skim.string()?;
            info.finished += u32::from(!reason.is_empty());
            info.add_reason(reason);
            Some(())
        }
        b"finish_reason" => Some(()),
        // Moonshot's place for it.
        b"usage" => {
            signs.within_choices = Counts::skim(skim)?.reported();
            Some(())
        }
        b"error" => {
            signs.is_error |= !skim.is_blank()?;
            Some(())
        }
        _ => skim.skip(),
    })?;
    info.add(delta, message);
    Some(())
}

/// What is not `null`.
fn part(skim: &mut Skim<'_>, found: &mut Option<Part>) -> Option<()> {
    if skim.null() {
        return Some(());
    }
    let part = found.get_or_insert_default();
    skim.object(|skim, key| match key {
        b"content" | b"refusal" => text(skim, part, true),
        b"reasoning_content" | b"reasoning" => text(skim, part, false),
        b"tool_calls" if !skim.null() => skim.array(|skim| {
            part.has_substance = true;
            skim.object_or_null(|skim, key| match key {
                b"function" => skim.object_or_null(|skim, key| match key {
                    b"arguments" => text(skim, part, false),
                    // Text where OpenAI has none: for the parser, which takes it from anywhere.
                    b"text" | b"function" => None,
                    _ => skim.skip(),
                }),
                b"text" | b"arguments" => None,
                _ => skim.skip(),
            })
        }),
        b"tool_calls" => Some(()),
        b"function_call" => {
            part.has_substance |= !skim.is_blank()?;
            Some(())
        }
        _ => skim.skip(),
    })
}

fn is_complete(reason: &[u8]) -> bool {
    matches!(reason, b"stop" | b"length" | b"tool_calls")
}

fn text(skim: &mut Skim<'_>, part: &mut Part, is_substance: bool) -> Option<()> {
    if !skim.null() {
        let text = skim.string()?;
        part.text_bytes += text.len();
        part.has_substance |= is_substance && !is_white(text);
    }
    Some(())
}

/// Nothing but white space, in a string as JSON writes it.
fn is_white(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b' ', rest @ ..] | [b'\\', b'n' | b't' | b'r', rest @ ..] => rest,
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests;
