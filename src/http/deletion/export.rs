//! A person's own data, written as it is read, a part of a conversation at a time: an account, and even one conversation, may
//! hold more than a process has memory for.

mod events;

use std::io;

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};
use serde::Serialize;

use crate::{
    api_error::ApiError,
    http::body::{ConversationBody, MessageBody, UserBody},
};
use domain::{
    account::SessionOwner,
    conversation::{Conversation, Message},
    ids::ConversationId,
    page::{Cursor, PageRequest},
};
use people::{
    audit::Audit,
    conversations::{ConversationError, Conversations, READ_LIMIT},
    sessions::Sessions,
};

/// Conversations, and events, that are looked up at once.
const LISTED: u16 = 50;

#[derive(Serialize)]
struct Head {
    exported_at: DateTime<Utc>,
    user: UserBody,
}

pub(super) struct Export {
    conversations: Conversations,
    audit: Audit,
    sessions: Sessions,
    caller: SessionOwner,
    next: Next,
    /// Of the list, the one to come next last.
    waiting: Vec<Conversation>,
    open: Option<Open>,
    first: bool,
}

enum Next {
    Head(Bytes),
    List(PageRequest),
    /// The list has been read to its end; what the caller did follows.
    Events(PageRequest),
    Tail,
    End,
}

/// A conversation that is being written.
struct Open {
    id: ConversationId,
    /// Where its parts end, the oldest last.
    ends: Vec<Cursor>,
    /// Where the next part begins: the part before it has what is older.
    begin: Cursor,
    first: bool,
}

impl Export {
    pub(super) fn new(
        exported_at: DateTime<Utc>,
        user: UserBody,
        caller: SessionOwner,
        sessions: Sessions,
        conversations: Conversations,
        audit: Audit,
    ) -> Result<Self, ApiError> {
        let head = Head { exported_at, user };
        let mut head = without_end(&head).map_err(|error| ApiError::internal().with_source(error))?;
        head.extend_from_slice(b",\"conversations\":[");
        Ok(Self {
            conversations,
            audit,
            sessions,
            caller,
            next: Next::Head(head.into()),
            waiting: Vec::new(),
            open: None,
            first: true,
        })
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        stream::try_unfold(self, Self::step)
    }

    async fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            // It may take long, and somebody may have ended the session because it was stolen.
            self.sessions
                .require_open(&self.caller)
                .await
                .map_err(io::Error::other)?;
            if let Some(open) = self.open.take() {
                let part = self.part(open).await?;
                return Ok(Some((part, self)));
            }
            if let Some(conversation) = self.waiting.pop() {
                if let Some(begun) = self.begin(conversation).await? {
                    return Ok(Some((begun, self)));
                }
                continue;
            }
            match std::mem::replace(&mut self.next, Next::End) {
                Next::Head(bytes) => {
                    self.next = list(None);
                    return Ok(Some((bytes, self)));
                }
                Next::List(page) => {
                    let found = self.conversations.list(&self.caller, page).await;
                    let found = found.map_err(io::Error::other)?;
                    self.next = found.next.map_or(Next::Events(part(None)), |after| list(Some(after)));
                    self.waiting = found.rows;
                    self.waiting.reverse();
                }
                Next::Events(page) => {
                    let (bytes, next) = self.events(page).await?;
                    self.next = next;
                    return Ok(Some((bytes, self)));
                }
                Next::Tail => return Ok(Some((Bytes::from_static(b"]}\n"), self))),
                Next::End => return Ok(None),
            }
        }
    }

    /// The beginning of a conversation: all of it where one part is all. Nothing if it was deleted meanwhile.
    async fn begin(&mut self, conversation: Conversation) -> io::Result<Option<Bytes>> {
        let id = conversation.id;
        let Some((messages, mut earlier)) = self.read(id, None).await? else {
            return Ok(None);
        };
        let mut bytes = if std::mem::take(&mut self.first) {
            Vec::new()
        } else {
            vec![b',']
        };
        bytes.extend(without_end(&ConversationBody::from(conversation))?);
        bytes.extend_from_slice(b",\"messages\":[");
        if earlier.is_none() {
            write(&mut bytes, messages, &mut true)?;
            bytes.extend_from_slice(b"]}");
            return Ok(Some(bytes.into()));
        }
        // The parts are found from the end and written from the beginning, so that all but this one are read twice. What is said
        // from now on is not among them.
        let newest = messages.last().map_or(Cursor::END, cursor_of);
        let mut ends = vec![Cursor {
            micros: newest.micros.saturating_add(1),
            ..Cursor::START
        }];
        while let Some(end) = earlier {
            ends.push(end);
            earlier = self.read(id, Some(end)).await?.and_then(|(_, earlier)| earlier);
        }
        self.open = Some(Open {
            id,
            ends,
            begin: Cursor::START,
            first: true,
        });
        Ok(Some(bytes.into()))
    }

    /// The next part of a conversation, or its end.
    async fn part(&mut self, mut open: Open) -> io::Result<Bytes> {
        let part = match open.ends.pop() {
            Some(end) => self
                .read(open.id, Some(end))
                .await?
                .map(|(messages, _)| (messages, end)),
            None => None,
        };
        let Some((mut messages, end)) = part else {
            return Ok(Bytes::from_static(b"]}"));
        };
        // An answer that was replaced meanwhile leaves room for older ones, which are written already.
        messages.retain(|message| {
            let Cursor { micros, id } = cursor_of(message);
            (micros, id) >= (open.begin.micros, open.begin.id)
        });
        let mut bytes = Vec::new();
        write(&mut bytes, messages, &mut open.first)?;
        open.begin = end;
        self.open = Some(open);
        Ok(bytes.into())
    }

    async fn read(
        &self,
        id: ConversationId,
        before: Option<Cursor>,
    ) -> io::Result<Option<(Vec<Message>, Option<Cursor>)>> {
        match self.conversations.read(&self.caller, id, before, READ_LIMIT).await {
            Ok(part) => Ok(Some((part.messages, part.earlier))),
            Err(ConversationError::NotFound) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

fn list(after: Option<Cursor>) -> Next {
    Next::List(part(after))
}

fn part(after: Option<Cursor>) -> PageRequest {
    PageRequest { limit: LISTED, after }
}

fn cursor_of(message: &Message) -> Cursor {
    Cursor {
        micros: message.created_at.timestamp_micros(),
        id: message.id.0,
    }
}

/// An object to which more is added.
fn without_end(object: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(object)?;
    bytes.pop();
    Ok(bytes)
}

fn write(bytes: &mut Vec<u8>, messages: Vec<Message>, first: &mut bool) -> serde_json::Result<()> {
    for message in messages {
        if !std::mem::take(first) {
            bytes.push(b',');
        }
        serde_json::to_writer(&mut *bytes, &MessageBody::from(message))?;
    }
    Ok(())
}
