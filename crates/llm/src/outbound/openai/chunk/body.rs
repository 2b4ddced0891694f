//! The usage of a whole answer, which need not be read for it.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{ReportedUsage, scan_chunk, skim::Skim, usage::Counts};

/// What a whole answer says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BodyUsage {
    pub reported: Option<ReportedUsage>,
    /// Bytes of text, for an estimate; 0 where the report is enough.
    pub text_bytes: usize,
}

/// What a whole answer reports: of chat, which has text, or of embeddings.
pub fn usage_of_body(body: &[u8], has_text: bool) -> BodyUsage {
    if let Some(reported) = usage_at_end(body)
        && reported.input > 0
        && (reported.output > 0 || !has_text)
    {
        return BodyUsage {
            reported: Some(reported),
            text_bytes: 0,
        };
    }
    let info = scan_chunk(body);
    BodyUsage {
        reported: info.usage,
        text_bytes: info.text_bytes,
    }
}

/// Where usage is looked for first, in bytes: servers report it after the answer.
const END: usize = 1024;
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// The usage that an answer ends with, found without reading what is before it. A key is not mistaken for one of another
/// depth: what follows must end the whole object. Nor for a text that has the word in it: there the quotes are escaped.
fn usage_at_end(body: &[u8]) -> Option<ReportedUsage> {
    let end = &body[body.len().saturating_sub(END)..];
    let at = USAGE.find(end)?;
    if end[..at].last() == Some(&b'\\') {
        return None;
    }
    let mut found = None;
    let mut skim = Skim::new(&end[at..]);
    skim.fields(|skim, key| match key {
        b"usage" => {
            found = Counts::skim(skim)?.reported();
            Some(())
        }
        _ => skim.skip(),
    })?;
    skim.is_over().then_some(found)?
}
