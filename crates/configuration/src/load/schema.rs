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

pub(crate) enum Presence {
    Required,
    Optional,
    /// For sections that exist many times over, such as providers; all others have their defaults in `default.toml`.
    Preset(Preset),
}

#[derive(Clone, Copy)]
pub(crate) enum Preset {
    Text(&'static str),
    Flag(bool),
    Number(i64),
}

/// What a text must be like. `allowed` completes "must be ...".
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) allowed: &'static str,
    pub(crate) holds: fn(&str) -> bool,
}

pub(crate) enum Kind {
    Text(Rule),
    /// Never shown.
    Secret(Rule),
    /// Shown without its password.
    SecretUrl(Rule),
    Url(Rule),
    Flag,
    Number {
        min: u64,
        max: u64,
    },
    Span {
        min: Duration,
        max: Duration,
    },
    Address,
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

/// A table whose keys the operator chooses.
pub(crate) struct Entries {
    pub(crate) key: Rule,
    pub(crate) item: Kind,
    /// Turns a lower-cased part of a variable's name into a key, where no entry of that name exists yet.
    pub(crate) from_variable: fn(String) -> String,
}

impl Kind {
    /// Lists come from a variable as comma-separated text.
    pub(crate) fn is_comma_separated(&self) -> bool {
        matches!(self, Self::Networks | Self::Texts(_))
    }
}

pub(crate) const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        presence: Presence::Required,
    }
}

pub(crate) const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        presence: Presence::Optional,
    }
}

pub(crate) const fn preset(name: &'static str, kind: Kind, preset: Preset) -> Field {
    Field {
        name,
        kind,
        presence: Presence::Preset(preset),
    }
}

pub(crate) const fn number(min: u64, max: u64) -> Kind {
    Kind::Number { min, max }
}

pub(crate) const fn span(min: Duration, max: Duration) -> Kind {
    Kind::Span { min, max }
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
