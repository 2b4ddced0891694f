//! What each section may contain, as data.
//!
//! Serde stops at the first fault and knows no ranges, so the merged sources are held against these tables first, leaf by
//! leaf, and only what passed becomes a struct. Each section's table stands beside its struct; a test keeps them alike.

use std::time::Duration;

/// One key of a section.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) presence: Presence,
}

#[derive(Clone, Copy)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// The value if absent, as a variable would give it. For sections that exist many times over, such as providers; all
    /// others have their defaults in `default.toml`.
    Preset(&'static str),
}

/// What a text must be like. `allowed` completes "must be ...".
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) allowed: &'static str,
    pub(crate) holds: fn(&str) -> bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text(Rule),
    /// A text that its struct parses, and one that does for a refused one.
    Parsed(Rule, &'static str),
    /// Never shown.
    Secret(Rule),
    /// Shown without its password.
    SecretUrl(Rule),
    Url(Rule),
    Flag,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A duration from the first to the second.
    Span(Duration, Duration),
    /// A list of networks in CIDR form.
    Networks,
    /// A list of texts.
    Texts(Rule),
    Choice(&'static [&'static str]),
    Section(&'static [Field]),
    Map(&'static Entries),
    /// A list of sections; a later source replaces it whole.
    List(&'static [Field]),
}

impl Kind {
    /// Whether it holds values of other keys.
    pub(super) fn is_nested(self) -> bool {
        matches!(self, Self::Section(_) | Self::Map(_) | Self::List(_))
    }
}

/// A table whose keys the operator chooses.
pub(crate) struct Entries {
    pub(crate) key: Rule,
    pub(crate) item: Kind,
    /// Turns a lower-cased part of a variable's name into a key, where no entry of that name exists yet.
    pub(crate) from_variable: fn(String) -> String,
}

const fn field(name: &'static str, kind: Kind, presence: Presence) -> Field {
    Field { name, kind, presence }
}

pub(crate) const fn required(name: &'static str, kind: Kind) -> Field {
    field(name, kind, Presence::Required)
}

pub(crate) const fn optional(name: &'static str, kind: Kind) -> Field {
    field(name, kind, Presence::Optional)
}

pub(crate) const fn preset(name: &'static str, kind: Kind, value: &'static str) -> Field {
    field(name, kind, Presence::Preset(value))
}

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// For keys and tokens that travel in a header.
pub(crate) fn is_visible_ascii(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
