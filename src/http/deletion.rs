//! What ends for good: the own account, and the organisation; and what somebody takes along.

use std::io;

use axum::{
    Json as JsonBody,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use futures_util::stream;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{ConversationBody, MessageBody, UserBody},
    edge::RequestContext,
    extract::Json,
};
use crate::{
    auth::extract::CurrentUser,
    domain::{account::SessionOwner, conversation::Conversation, page::PageRequest},
    failure::Failure,
    service::{
        accounts::Accounts,
        conversations::{ConversationError, Conversations, MOST_READ},
    },
};

/// Conversations that are looked up at once for an export.
const LISTED: u16 = 50;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeletionBody {
    #[schema(value_type = String, format = Password, max_length = 256)]
    current_password: SecretString,
}

#[derive(Serialize, ToSchema)]
pub struct OrganizationDeletion {
    /// Until then the deletion can be taken back.
    delete_after: DateTime<Utc>,
}

/// Erase the caller's own account: sessions end, keys are revoked, conversations are deleted. The last owner of an organisation
/// makes somebody else an owner first, or deletes the organisation.
#[utoipa::path(delete, path = "/api/users/me", tag = "Accounts", request_body = DeletionBody, responses(
    (status = 204, description = "Erased"),
    (status = 403, description = "The password is wrong", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 409, description = "The organisation would be left without an owner", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn leave(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Json(body): Json<DeletionBody>,
) -> Result<StatusCode, Failure> {
    accounts.leave(&caller, body.current_password, context.client.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete the caller's organisation with all that is in it, once a time of grace is over. For owners.
#[utoipa::path(delete, path = "/api/organization/deletion", tag = "Accounts", request_body = DeletionBody, responses(
    (status = 202, description = "It will be deleted, unless that is taken back", body = OrganizationDeletion),
    (status = 403, description = "The password is wrong, or the caller owns no organisation", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn delete_organization(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Json(body): Json<DeletionBody>,
) -> Result<(StatusCode, JsonBody<OrganizationDeletion>), Failure> {
    let delete_after = accounts
        .delete_organization(&caller, body.current_password, context.client.0)
        .await?;
    Ok((StatusCode::ACCEPTED, JsonBody(OrganizationDeletion { delete_after })))
}

/// Take the deletion of the caller's organisation back. For owners.
#[utoipa::path(post, path = "/api/organization/deletion", tag = "Accounts", responses((status = 204, description = "It stays")))]
pub async fn restore_organization(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
) -> Result<StatusCode, Failure> {
    accounts.restore_organization(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All of the caller's own data as one JSON object: the account, and every conversation with its messages.
#[utoipa::path(get, path = "/api/users/me/export", tag = "Accounts", responses((status = 200, description = "`{\"user\", \"exported_at\", \"conversations\": [{…, \"messages\": […]}]}`", content_type = "application/json")))]
pub async fn export(
    State(accounts): State<Accounts>,
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
) -> Result<Response, Failure> {
    let user = accounts.get(caller.organization, caller.user).await?;
    let head = ExportHead {
        exported_at: accounts.now(),
        user: user.into(),
    };
    let mut head = serde_json::to_vec(&head).map_err(|error| Failure::internal().because(error))?;
    // The list goes into the same object.
    head.pop();
    head.extend_from_slice(b",\"conversations\":[");
    let export = Export {
        conversations,
        caller,
        next: Next::Head(head.into()),
        waiting: Vec::new(),
        first: true,
    };
    let body = Body::from_stream(stream::try_unfold(export, |export| async move {
        export.step().await.map_err(|error| io::Error::other(error.to_string()))
    }));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"mapleai-export.json\""),
    );
    Ok(response)
}

#[derive(Serialize)]
struct ExportHead {
    exported_at: DateTime<Utc>,
    user: UserBody,
}

#[derive(Serialize)]
struct ExportedConversation {
    #[serde(flatten)]
    conversation: ConversationBody,
    messages: Vec<MessageBody>,
}

enum Next {
    Head(Bytes),
    List(PageRequest),
    /// The list has been read to its end.
    Tail,
    End,
}

/// Written as it is read, a conversation at a time: an account may hold more than a process has memory for.
struct Export {
    conversations: Conversations,
    caller: SessionOwner,
    next: Next,
    waiting: Vec<Conversation>,
    first: bool,
}

impl Export {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, ConversationError> {
        loop {
            if let Some(conversation) = self.waiting.pop() {
                match self.conversation(conversation).await? {
                    Some(bytes) => return Ok(Some((bytes, self))),
                    // Deleted meanwhile.
                    None => continue,
                }
            }
            match std::mem::replace(&mut self.next, Next::End) {
                Next::Head(bytes) => {
                    self.next = Next::List(PageRequest {
                        limit: LISTED,
                        after: None,
                    });
                    return Ok(Some((bytes, self)));
                }
                Next::List(page) => {
                    let found = self.conversations.list(&self.caller, page).await?;
                    self.next = found.next.map_or(Next::Tail, |after| {
                        Next::List(PageRequest {
                            limit: LISTED,
                            after: Some(after),
                        })
                    });
                    self.waiting = found.rows;
                    self.waiting.reverse();
                }
                Next::Tail => return Ok(Some((Bytes::from_static(b"]}\n"), self))),
                Next::End => return Ok(None),
            }
        }
    }

    async fn conversation(&mut self, conversation: Conversation) -> Result<Option<Bytes>, ConversationError> {
        let (mut before, mut windows) = (None, Vec::new());
        loop {
            match self
                .conversations
                .read(&self.caller, conversation.id, before, MOST_READ)
                .await
            {
                Ok(read) => {
                    windows.push(read.messages);
                    match read.earlier {
                        Some(earlier) => before = Some(earlier),
                        None => break,
                    }
                }
                Err(ConversationError::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let exported = ExportedConversation {
            conversation: conversation.into(),
            messages: windows.into_iter().rev().flatten().map(Into::into).collect(),
        };
        let mut bytes = if std::mem::take(&mut self.first) {
            Vec::new()
        } else {
            vec![b',']
        };
        // Only text and numbers: it can be written.
        bytes.extend(serde_json::to_vec(&exported).unwrap_or_default());
        Ok(Some(bytes.into()))
    }
}
