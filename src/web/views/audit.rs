//! What the page of the audit log shows.

use askama::Template;

use super::Viewer;
use crate::web::{assets, figures::Moment};

/// A side of an event.
pub struct PartyView {
    pub words: String,
    /// Stands where there is no name.
    pub short_id: String,
    /// All of it, for whoever looks it up.
    pub id: String,
    /// What the page is filtered by to see what this one did; empty for what does nothing.
    pub filter: String,
}

pub struct EventRow {
    pub time: Moment,
    pub action: String,
    pub actor: PartyView,
    pub target: PartyView,
    /// Such as `role: member → admin`.
    pub changes: Vec<String>,
    /// Empty where none is known.
    pub address: String,
}

/// One of a menu, with what stands for it in the page's address.
pub struct Choice {
    pub value: String,
    pub words: String,
    pub is_chosen: bool,
}

#[derive(Template)]
#[template(path = "audit.html")]
pub struct AuditPage {
    pub viewer: Viewer,
    /// What is wrong with the filters.
    pub faults: Vec<String>,
    pub actors: Vec<Choice>,
    pub actions: Vec<Choice>,
    /// Days of UTC, as they were written.
    pub from: String,
    pub to: String,
    pub is_filtered: bool,
    pub events: Vec<EventRow>,
    /// The addresses of other pages with the same filters.
    pub older: Option<String>,
    pub newest: Option<String>,
}
