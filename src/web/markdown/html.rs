//! Markdown as HTML that is safe to show, written from comrak's tree: only the elements and attributes that
//! `writer` names can come out, so that nothing has to be taken away afterwards. Raw HTML is shown as the text it is: in a chat it is
//! usually what was asked for.
//!
//! Bounded at the tree: in nodes, in depth, in bytes that come out, and by a deadline that parsing and writing look at. What is
//! beyond is for the caller to show plain. Public reports of such bounds missing: servo/html5ever #788,
//! commonmark/commonmark.js #129, gjtorikian/commonmarker #147, markedjs/marked PR #1464.

use std::sync::LazyLock;

use comrak::{Arena, Options, try_parse_document};

use super::writer::Writer;

/// Longest text, in bytes.
pub const MAX_TEXT: usize = 512 * 1024;
/// Most nodes of the tree. Parsing stops up to 256 nodes later.
pub const MAX_NODES: usize = 20_000;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 100;

/// Bytes of HTML that may come of so many bytes of text.
pub const fn max_html(text: usize) -> usize {
    10 * text + 64 * 1024
}

/// Why a text is not rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    Text,
    Nodes,
    Depth,
    Html,
    /// The deadline passed.
    Time,
}

static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut options = Options::default();
    options.extension.strikethrough = true;
    // Takes single tildes away from `strikethrough`: they are written as they came, but for what looks like a formula.
    options.extension.subscript = true;
    options.extension.table = true;
    options.extension.tasklist = true;
    options.extension.autolink = true;
    // commonmark/commonmark-spec #650
    options.extension.cjk_friendly_emphasis = true;
    options
});

/// Unfinished Markdown, as while an answer grows, comes out as far as it goes. `is_over` is the deadline.
pub fn to_html(text: &str, is_over: &dyn Fn() -> bool) -> Result<String, TooMuch> {
    if text.len() > MAX_TEXT {
        return Err(TooMuch::Text);
    }
    let arena = Arena::new();
    let stop = || arena.len() > MAX_NODES || is_over();
    let parsed = try_parse_document(&arena, text, &OPTIONS, &stop);
    let too_many = arena.len() > MAX_NODES;
    match parsed {
        Ok(root) if !too_many => Writer::new(max_html(text.len()), is_over).write(root),
        _ if too_many => Err(TooMuch::Nodes),
        _ => Err(TooMuch::Time),
    }
}
