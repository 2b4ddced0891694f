//! Conversations and what is said in them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    ids::{ConversationId, MessageId},
    page::Cursor,
};

/// Longest message, in characters; the body limit bounds bytes before this is reached.
pub const MAX_MESSAGE_LENGTH: usize = 200_000;
pub const MAX_TITLE_LENGTH: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: ConversationId,
    /// `None` until the first message gives it one.
    pub title: Option<String>,
    /// The model last asked; `None` until somebody chose one.
    pub model: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    User,
    Assistant,
}

impl Author {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// Being written; a sweep turns it into `Partial` if its writer died.
    Streaming,
    Complete,
    /// Stopped by the reader, or broken off upstream.
    Partial,
    /// No text arrived at all.
    Failed,
}

impl MessageStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// Why an answer is not all that its reader may have hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Stable, such as `length` or `provider_timeout`; programs may rely on it. Newer releases may store words that this one
    /// does not know.
    pub reason: Cow<'static, str>,
    /// A sentence for people.
    pub detail: Cow<'static, str>,
    /// Seconds until another try is worth its while, where they are known.
    pub retry_after: Option<u32>,
}

impl Ending {
    pub fn new(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason: reason.into(),
            detail: detail.into(),
            retry_after: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub author: Author,
    pub content: String,
    /// What the model wrote before its answer, for who wants to see it; never sent to a model again.
    pub thoughts: Option<String>,
    /// Who wrote it, for an assistant's message.
    pub model: Option<String>,
    pub status: MessageStatus,
    /// Absent for an answer that ended by itself.
    pub ending: Option<Ending>,
    pub created_at: DateTime<Utc>,
}

impl Message {
    /// Where in its conversation it stands.
    pub fn place(&self) -> Cursor {
        Cursor {
            micros: self.created_at.timestamp_micros(),
            id: self.id.0,
        }
    }
}

/// Longest title that is made, in letters as people see them.
const MAX_LETTERS: usize = 60;

/// A title for a conversation that has none: the first line of its first message, cut at a word, and never within a letter.
/// Public reports: botmux #1253, cherry-studio PR #16404.
pub fn title_from(message: &str) -> String {
    // More than this is not looked at: one letter may have any number of marks.
    let line: String = message
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("New conversation")
        .chars()
        .filter(|c| !c.is_control())
        .take(10 * MAX_TITLE_LENGTH)
        .collect();
    let mut letters = line.grapheme_indices(true);
    let Some((end, _)) = letters.nth(MAX_LETTERS) else {
        return bounded(line);
    };
    let cut = &line[..end];
    let end = cut.rfind(' ').filter(|end| *end > 20).unwrap_or(cut.len());
    bounded(format!("{}…", cut[..end].trim_end()))
}

/// Without the last letters of a title that is too long for the database's rule all the same, since its letters have many marks.
fn bounded(title: String) -> String {
    if title.chars().count() <= MAX_TITLE_LENGTH {
        return title;
    }
    let mut kept = String::new();
    let mut left = MAX_TITLE_LENGTH - 1;
    for letter in title.graphemes(true) {
        let Some(rest) = left.checked_sub(letter.chars().count()) else {
            break;
        };
        left = rest;
        kept.push_str(letter);
    }
    if kept.is_empty() {
        kept = title.chars().take(MAX_TITLE_LENGTH - 1).collect();
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::title_from;

    #[test]
    fn titles() {
        assert_eq!(title_from("\n  Hello there \nmore"), "Hello there");
        assert_eq!(title_from("   "), "New conversation");
        let long = title_from(&"word ".repeat(40));
        assert!(long.ends_with("word…") && long.chars().count() <= 61, "{long}");
        assert_eq!(title_from(&"ä".repeat(80)).chars().count(), 61);
    }

    #[test]
    fn titles_are_cut_between_letters() {
        let family = "👩\u{200d}👩\u{200d}👧";
        let exact = format!("{}{family}", "x".repeat(59));
        assert_eq!(title_from(&exact), exact);
        let longer = title_from(&format!("{}{family}y", "x".repeat(60)));
        assert_eq!(longer, format!("{}…", "x".repeat(60)));
        let marks = title_from(&format!("a{}", "\u{301}".repeat(100_000)));
        assert!(
            marks.chars().count() <= super::MAX_TITLE_LENGTH,
            "{}",
            marks.chars().count()
        );
        let letters = title_from(&format!("e{}", "\u{301}\u{302}\u{303}").repeat(80));
        assert!(
            letters.chars().count() <= super::MAX_TITLE_LENGTH && letters.ends_with("\u{303}…"),
            "{letters}"
        );
    }
}
