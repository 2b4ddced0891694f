//! The chat page.

use axum::{extract::State, response::Response};
use http::HeaderMap;

use super::{draw, viewer};
use crate::{
    auth::extract::CurrentUser,
    domain::{
        account::SessionOwner,
        conversation::{Author, Message},
        ids::ConversationId,
        model::ModelKind,
        page::{Cursor, PageRequest},
    },
    failure::Failure,
    http::{body::UNTITLED, extract::Id},
    service::{accounts::Accounts, conversations::Conversations, models::Models},
    web::{
        Site, markdown,
        views::{ChatPage, ConversationLink, CurrentConversation, MessageView, ModelOption},
    },
};

/// Conversations listed at once; the rest by the button below them.
const LISTED: u16 = 30;

pub(super) async fn start(
    State(accounts): State<Accounts>,
    State(conversations): State<Conversations>,
    State(models): State<Models>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    show(&accounts, &conversations, &models, &site, &caller, &headers, None).await
}

pub(super) async fn conversation(
    State(accounts): State<Accounts>,
    State(conversations): State<Conversations>,
    State(models): State<Models>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    show(&accounts, &conversations, &models, &site, &caller, &headers, Some(id)).await
}

async fn show(
    accounts: &Accounts,
    conversations: &Conversations,
    models: &Models,
    site: &Site,
    caller: &SessionOwner,
    headers: &HeaderMap,
    id: Option<ConversationId>,
) -> Result<Response, Failure> {
    let current = match id {
        Some(id) => Some(conversations.read(caller, id).await?),
        None => None,
    };
    let chosen = current
        .as_ref()
        .and_then(|(conversation, _)| conversation.model.clone());
    let listed = conversations
        .list(
            caller,
            PageRequest {
                limit: LISTED,
                after: None,
            },
        )
        .await?;
    let page = ChatPage {
        viewer: viewer(accounts, site, caller, headers).await?,
        next_cursor: listed.next.map(Cursor::encode),
        conversations: listed
            .rows
            .into_iter()
            .map(|row| ConversationLink {
                active: Some(row.id) == id,
                id: row.id.to_string(),
                title: row.title.unwrap_or_else(|| UNTITLED.to_owned()),
            })
            .collect(),
        current: current.map(|(conversation, messages)| CurrentConversation {
            id: conversation.id.to_string(),
            title: conversation.title.unwrap_or_else(|| UNTITLED.to_owned()),
            messages: messages.into_iter().map(view).collect(),
        }),
        models: models
            .list()
            .filter(|model| model.kind == ModelKind::Chat)
            .map(|model| ModelOption {
                selected: chosen.as_deref() == Some(&*model.id),
                id: model.id.to_string(),
                name: model.name.to_string(),
            })
            .collect(),
    };
    draw(&page)
}

fn view(message: Message) -> MessageView {
    let html = match message.author {
        Author::User => String::new(),
        Author::Assistant => markdown::to_html(&message.content),
    };
    MessageView {
        id: message.id.to_string(),
        role: message.author.as_str(),
        status: message.status.as_str(),
        model: message.model.unwrap_or_default(),
        text: message.content,
        html,
    }
}
