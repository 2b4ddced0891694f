//! What the settings page shows.

use askama::Template;

use super::{FormFaults, Viewer};
use crate::web::{assets, figures::Moment};

pub struct MemberRow {
    pub id: String,
    pub name: String,
    pub email: String,
    pub role: &'static str,
    /// Roles the viewer may choose from; empty if this member's role is not the viewer's to change.
    pub choices: Vec<&'static str>,
    pub may_remove: bool,
}

pub struct SessionRow {
    pub id: String,
    /// The device, where the browser said so.
    pub kind: String,
    pub since: Moment,
    /// Empty until it was.
    pub last_used: Moment,
    pub until: Moment,
    /// The one that the page is seen in.
    pub is_this: bool,
}

pub struct InvitationRow {
    pub id: String,
    pub email: String,
    pub role: &'static str,
    pub expires: Moment,
}

/// Figures as they are shown.
pub struct UsageRow {
    pub name: String,
    pub requests: String,
    pub input_tokens: String,
    pub output_tokens: String,
    pub cost: String,
    /// Of them answered from the cache, such as `37 %`.
    pub from_cache: String,
    /// What those would have cost.
    pub saved: String,
}

/// One day's bar, in the units of the chart's view box.
pub struct Bar {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// The part of it, from below, that was answered from the cache.
    pub cached_height: f64,
    pub cached_y: f64,
    pub label: String,
}

/// One day in the table beside the chart.
pub struct UsageDay {
    pub day: String,
    pub requests: String,
    pub cached: String,
}

/// A report of usage.
pub struct UsageView {
    pub totals: UsageRow,
    pub bars: Vec<Bar>,
    /// What the chart's upper and middle line stand for.
    pub axis_top: String,
    pub axis_middle: String,
    /// What one sees in the chart, for whoever does not.
    pub sentence: String,
    /// Those with anything on them, newest first.
    pub days: Vec<UsageDay>,
    pub first_day: String,
    pub last_day: String,
    pub by_model: Vec<UsageRow>,
    pub by_key: Vec<UsageRow>,
}

/// What was filled in where something else is to be mended. Passwords are not given back.
#[derive(Default)]
pub struct Typed {
    /// The own name, if it was to be changed.
    pub name: Option<String>,
    pub revoke_keys: bool,
    /// Who was to be invited, and as what.
    pub email: String,
    pub role: &'static str,
}

#[derive(Template)]
#[template(path = "settings.html")]
pub struct SettingsPage {
    pub viewer: Viewer,
    pub notice: Option<&'static str>,
    pub faults: FormFaults,
    pub typed: Typed,
    pub password_hint: String,
    pub members: Vec<MemberRow>,
    /// Where the next members begin, if there are more.
    pub more_members: Option<String>,
    pub is_first_part: bool,
    /// Newest first.
    pub sessions: Vec<SessionRow>,
    /// There are more than these.
    pub more_sessions: bool,
    pub invitations: Vec<InvitationRow>,
    /// Where the next invitations begin, if there are more.
    pub more_invitations: Option<String>,
    pub is_first_invitations: bool,
    /// Shown this once.
    pub invitation_url: Option<String>,
    pub roles: Vec<&'static str>,
    /// Absent while it cannot be had.
    pub usage: Option<UsageView>,
    /// Whether people are given each other's answers; absent where it cannot be had, or changed by the viewer.
    pub shares_answers: Option<bool>,
}
