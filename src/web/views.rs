//! What each page shows: plain data, filled by the handlers, written out by the templates.

mod audit;
mod settings;

use askama::Template;

use super::{assets, figures::Moment};

pub use audit::{AuditPage, Choice, EventRow, PartyView};
pub use settings::{Bar, InvitationRow, MemberRow, SessionRow, SettingsPage, Typed, UsageDay, UsageRow, UsageView};

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
    /// Puts the fields in the order in which the form has them.
    pub fn sort_as(&mut self, form: &[&str]) {
        let index = |name: &str| form.iter().position(|field| *field == name);
        self.fields.sort_by_key(|(name, _)| index(name));
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
    /// Of a model that a process beside this one runs.
    pub local: Option<LocalView>,
}

/// How such a model is.
pub struct LocalView {
    pub state: &'static str,
    /// Of the download; empty at other times.
    pub percent: String,
    pub sentence: String,
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

impl ChatPage {
    /// Whether any of them is run beside this process.
    fn has_local(&self) -> bool {
        self.models.iter().any(|model| model.local.is_some())
    }

    /// How the model is that is selected in the menu, if it is such a one.
    fn selected_local(&self) -> Option<&LocalView> {
        self.models.iter().find(|model| model.selected)?.local.as_ref()
    }
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
