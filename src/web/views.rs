//! What each page shows: plain data, filled by the handlers, written out by the templates.

use askama::Template;

use super::{assets, figures::Moment};

/// Who looks at the page.
pub struct Viewer {
    /// What this browser keeps for the account is kept under it.
    pub id: String,
    pub name: String,
    pub email: String,
    pub role: &'static str,
    pub organization: String,
    pub may_manage: bool,
    pub csrf_token: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// A session has ended: the person did not come here of their own accord.
    pub has_ended: bool,
    pub error: Option<String>,
    pub email: String,
    /// Where to go then; empty for the start.
    pub next: String,
    pub registration_open: bool,
}

/// Asks for the password before a form is carried out, which it holds.
#[derive(Template)]
#[template(path = "confirm.html")]
pub struct ConfirmPage {
    /// What is done then.
    pub deed: String,
    /// Where the form goes.
    pub action: String,
    pub csrf_token: String,
    pub fields: Vec<(String, String)>,
    pub email: String,
    pub fault: Option<String>,
}

/// What is wrong with a form: a sentence for the whole, and one for each field.
#[derive(Default)]
pub struct FormFaults {
    pub general: Option<String>,
    pub fields: Vec<(String, String)>,
}

impl FormFaults {
    /// The fields in the order in which the form has them.
    pub fn in_order(mut self, form: &[&str]) -> Self {
        let place = |name: &str| form.iter().position(|field| *field == name);
        self.fields.sort_by_key(|(name, _)| place(name));
        self
    }

    /// Whether it is the first of the fields to be mended, where a person goes on.
    pub fn is_first(&self, field: &str) -> bool {
        self.fields.first().is_some_and(|(name, _)| name == field)
    }

    pub fn of(&self, field: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, message)| message.as_str())
    }
}

#[derive(Template, Default)]
#[template(path = "register.html")]
pub struct RegisterPage {
    pub faults: FormFaults,
    pub password_hint: String,
    pub email: String,
    pub name: String,
    pub organization: String,
}

#[derive(Template)]
#[template(path = "invite.html")]
pub struct InvitePage {
    pub faults: FormFaults,
    pub password_hint: String,
    pub token: String,
    pub email: String,
    pub organization: String,
    pub name: String,
}

pub struct ConversationLink {
    pub id: String,
    pub title: String,
    pub active: bool,
}

pub struct MessageView {
    pub id: String,
    pub role: &'static str,
    pub status: &'static str,
    pub model: String,
    /// As written; shown for the user's messages.
    pub text: String,
    /// Sanitised, thoughts first; shown for the assistant's.
    pub html: String,
    /// Why there is no (more) text, in a word; empty for an answer that ended by itself.
    pub reason: String,
    /// The same in a sentence.
    pub detail: String,
    /// When another try is worth its while, for the script.
    pub retry_at: Option<String>,
}

pub struct CurrentConversation {
    pub id: String,
    pub title: String,
    /// The model last asked.
    pub model: Option<String>,
    pub messages: Vec<MessageView>,
    /// Where the messages before these end, if there are any.
    pub earlier: Option<String>,
    /// These are not the newest: there is something to go back to.
    pub is_earlier: bool,
}

pub struct ModelOption {
    pub id: String,
    pub name: String,
    pub selected: bool,
}

#[derive(Template)]
#[template(path = "chat.html")]
pub struct ChatPage {
    pub viewer: Viewer,
    pub conversations: Vec<ConversationLink>,
    pub next_cursor: Option<String>,
    pub current: Option<CurrentConversation>,
    /// Whether an earlier part of a conversation is shown, where nothing is asked.
    pub is_earlier: bool,
    /// One of the models was asked last in this conversation; otherwise the browser's last one is offered.
    pub model_is_chosen: bool,
    pub models: Vec<ModelOption>,
}

#[derive(Default)]
pub struct KeyRow {
    pub id: String,
    pub name: String,
    pub prefix: String,
    pub made_by: String,
    pub created: Moment,
    pub expires: Moment,
    pub last_used: Moment,
}

#[derive(Template)]
#[template(path = "keys.html")]
pub struct KeysPage {
    pub viewer: Viewer,
    pub keys: Vec<KeyRow>,
    /// An empty row, from which the script makes the one of a new key.
    pub pattern: KeyRow,
    /// Where older ones begin, if there are more.
    pub older: Option<String>,
    pub is_newest: bool,
    pub base_url: String,
    pub example_model: String,
}

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

#[derive(Template)]
#[template(path = "docs.html")]
pub struct DocsPage;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
    request_id: &'a str,
}

/// A page for a failure. Falls back to plain text rather than fail itself.
pub fn error_page(status: u16, title: &str, detail: &str, request_id: &str) -> String {
    let page = ErrorPage {
        status,
        title,
        detail,
        request_id,
    };
    page.render().unwrap_or_else(|_| format!("{status} {title}"))
}
