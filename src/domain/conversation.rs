//! Conversations and what is said in them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ids::{ConversationId, MessageId},
    page::Cursor,
};

/// Longest message, in characters; the body limit bounds bytes before this is reached.
pub const LONGEST_MESSAGE: usize = 200_000;
pub const LONGEST_TITLE: usize = 200;

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

/// A title for a conversation that has none: the first line of its first message, cut at a word.
pub fn title_from(message: &str) -> String {
    let line: String = message
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("New conversation")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    if line.chars().count() <= 60 {
        return line;
    }
    let cut: String = line.chars().take(60).collect();
    let end = cut.rfind(' ').filter(|end| *end > 20).unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end())
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
}
