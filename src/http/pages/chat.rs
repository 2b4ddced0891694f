//! The chat page.

use axum::{extract::State, response::Response};
use chrono::TimeDelta;
use http::HeaderMap;
use serde::Deserialize;

use super::{draw, viewer};
use crate::service::Services;
use crate::{
    api_error::ApiError,
    auth::extract::CurrentUser,
    http::{
        body::UNTITLED,
        extract::{Id, Parameters, read_cursor},
    },
    state::AppState,
    web::{
        markdown,
        views::{ChatPage, ConversationLink, CurrentConversation, LocalView, MessageView, ModelOption},
    },
};
use domain::{
    account::SessionOwner,
    conversation::{Author, Message},
    ids::ConversationId,
    model::ModelKind,
    page::{Cursor, PageRequest},
};
use people::conversations::{ConversationPage, SHOWN_LIMIT};

/// Which part of a conversation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartQuery {
    before: Option<String>,
}

/// Conversations listed at once; the rest by the button below them.
const LISTED: u16 = 30;

pub(super) async fn start(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    show(&state, &caller, &headers, None).await
}

pub(super) async fn conversation(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
    Parameters(query): Parameters<PartQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let before = read_cursor(query.before.as_deref())?;
    show(&state, &caller, &headers, Some((id, before))).await
}

async fn show(
    state: &AppState,
    caller: &SessionOwner,
    headers: &HeaderMap,
    wanted: Option<(ConversationId, Option<Cursor>)>,
) -> Result<Response, ApiError> {
    let Services {
        accounts,
        conversations,
        models,
        ..
    } = &state.services;
    models.first_look().await;
    let id = wanted.map(|(id, _)| id);
    let mut current = match wanted {
        Some((id, before)) => {
            let part = conversations.read(caller, id, before, SHOWN_LIMIT).await?;
            Some(drawn(caller, part, before.is_some()).await)
        }
        None => None,
    };
    // As the menu calls it; a model that is no longer offered keeps its id.
    for message in current.iter_mut().flat_map(|current| &mut current.messages) {
        if let Some(model) = models.list().find(|model| *model.id == *message.model) {
            message.model = model.name.to_string();
        }
    }
    let is_chat = |id: &str| models.get(id).is_some_and(|model| model.kind == ModelKind::Chat);
    let chosen = current.as_ref().and_then(|current| current.model.clone());
    let chosen = chosen.filter(|id| is_chat(id));
    let model_is_chosen = chosen.is_some();
    let selected = chosen.or_else(|| models.preferred_chat().map(|model| model.id.to_string()));
    let offered: Vec<_> = models
        .list()
        .filter(|model| model.kind == ModelKind::Chat)
        .map(|model| ModelOption {
            selected: selected.as_deref() == Some(&*model.id),
            id: model.id.to_string(),
            name: model.name.to_string(),
            local: models.local_status(model).map(|status| LocalView {
                state: status.state,
                percent: status.percent.map(|percent| percent.to_string()).unwrap_or_default(),
                sentence: status.sentence,
            }),
        })
        .collect();
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
        viewer: viewer(accounts, &state.site, caller, headers).await?,
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
        is_earlier: current.as_ref().is_some_and(|current| current.is_earlier),
        current,
        model_is_chosen,
        models: offered,
    };
    draw(&page)
}

/// Its messages rendered, all of them in one go off the async workers.
async fn drawn(caller: &SessionOwner, part: ConversationPage, is_earlier: bool) -> CurrentConversation {
    let answers = part
        .messages
        .iter()
        .filter(|message| message.author == Author::Assistant);
    let texts = answers.map(|message| message.content.clone()).collect();
    let mut rendered = markdown::render(caller.organization, texts).await.into_iter();
    let mut view = |message: Message| {
        let ending = message.ending;
        MessageView {
            html: match message.author {
                Author::User => String::new(),
                Author::Assistant => {
                    let thoughts = message.thoughts.as_deref().map(markdown::thoughts);
                    thoughts.unwrap_or_default() + &rendered.next().unwrap_or_default()
                }
            },
            id: message.id.to_string(),
            role: message.author.as_str(),
            status: message.status.as_str(),
            model: message.model.unwrap_or_default(),
            text: message.content,
            retry_at: ending.as_ref().and_then(|ending| ending.retry_after).map(|seconds| {
                let at = message.created_at + TimeDelta::seconds(seconds.into());
                at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
            }),
            reason: ending
                .as_ref()
                .map(|ending| ending.reason.to_string())
                .unwrap_or_default(),
            detail: ending.map(|ending| ending.detail.into_owned()).unwrap_or_default(),
        }
    };
    CurrentConversation {
        id: part.conversation.id.to_string(),
        title: part.conversation.title.unwrap_or_else(|| UNTITLED.to_owned()),
        model: part.conversation.model,
        messages: part.messages.into_iter().map(&mut view).collect(),
        earlier: part.earlier.map(Cursor::encode),
        is_earlier,
    }
}
