//! A user's conversations. Asking for an answer is in [`super::answers`].

mod running;
mod title;

use std::sync::Arc;

pub(crate) use running::{Running, RunningAnswer};

use configuration::LimitsConfig;
use domain::field::{Faults, FieldFault};
use domain::{
    account::SessionOwner,
    clock::Clock,
    conversation::{Conversation, MAX_TITLE_LENGTH, Message},
    ids::{ConversationId, OrganizationId, UserId},
    model::ModelKind,
    page::{Cursor, Page, PageRequest},
    text,
};
use gateway::audit::act_of;
use gateway::{
    caches::{self, Caches, REMEMBERED},
    models::Models,
};
use store::{self, StoreError, limits::LimitReached, messages::WindowLimit};

/// What of a conversation is given to a program at once. Rows alone would not bound it: one may hold most of a megabyte.
pub const READ_LIMIT: WindowLimit = WindowLimit {
    messages: 1_000,
    bytes: 2 * 1024 * 1024,
};
/// On a page, where all of it is rendered.
pub const SHOWN_LIMIT: WindowLimit = WindowLimit {
    messages: 200,
    bytes: 512 * 1024,
};

#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("there is no such conversation")]
    NotFound,
    #[error(transparent)]
    LimitReached(#[from] LimitReached),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

/// A part of a conversation.
pub struct ConversationPage {
    pub conversation: Conversation,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Where those before them end, if there are any.
    pub earlier: Option<Cursor>,
}

/// Absent fields stay.
#[derive(Debug, Default)]
pub struct ConversationChange {
    pub title: Option<String>,
    pub model: Option<String>,
}

#[derive(Clone)]
pub struct Conversations {
    store: store::conversations::Conversations,
    messages: store::messages::Messages,
    models: Models,
    caches: Caches,
    clock: Clock,
    limits: LimitsConfig,
    running: Running,
}

impl Conversations {
    pub fn new(
        store: store::conversations::Conversations,
        messages: store::messages::Messages,
        models: Models,
        caches: Caches,
        clock: Clock,
        limits: LimitsConfig,
    ) -> Self {
        Self {
            store,
            messages,
            models,
            caches,
            clock,
            limits,
            running: Running::default(),
        }
    }

    /// Notes that an answer is being written.
    pub(super) fn begin_answer(&self, conversation: ConversationId) -> RunningAnswer {
        self.running.begin_answer(conversation)
    }

    fn check(&self, change: ConversationChange) -> Result<ConversationChange, ConversationError> {
        let mut faults = Faults::default();
        let title = change
            .title
            .and_then(|title| faults.check("title", text::title(&title, MAX_TITLE_LENGTH)));
        if let Some(model) = &change.model
            && self.models.get(model).is_none_or(|model| model.kind != ModelKind::Chat)
        {
            faults.add("model", "must be the id of a chat model; GET /api/models lists them");
        }
        if faults.is_empty() {
            Ok(ConversationChange {
                title,
                model: change.model,
            })
        } else {
            Err(ConversationError::Invalid(faults.into_vec()))
        }
    }

    pub async fn create(
        &self,
        caller: &SessionOwner,
        change: ConversationChange,
    ) -> Result<Conversation, ConversationError> {
        self.models.first_look().await;
        let new = self.check(change)?;
        let now = self.clock.now();
        let (store, organization, user) = (self.store.clone(), caller.organization, caller.user);
        let limits = self.limits;
        let creating = async move {
            let (title, model) = (new.title.as_deref(), new.model.as_deref());
            store.create(organization, user, title, model, &limits, now).await
        };
        Ok(self.write(organization, user, creating).await??)
    }

    /// Carries out a write that shows in a user's list. The list is forgotten whatever comes of it: a write whose answer was
    /// lost may have been made.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        organization: OrganizationId,
        user: UserId,
        write: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let this = self.clone();
        let writing = async move {
            let outcome = write.await;
            this.forget_list(organization, user).await;
            outcome
        };
        self.caches.run_detached(writing).await
    }

    pub(super) async fn forget_list(&self, organization: OrganizationId, user: UserId) {
        let key = caches::conversations_key(organization, user);
        self.caches.conversations.invalidate(&[key]).await;
    }

    pub async fn list(
        &self,
        caller: &SessionOwner,
        page: PageRequest,
    ) -> Result<Page<Conversation>, ConversationError> {
        if page.after.is_some() || page.limit > REMEMBERED {
            return Ok(self.store.list(caller.organization, caller.user, page).await?);
        }
        let (store, organization, user) = (self.store.clone(), caller.organization, caller.user);
        let newest = || async move {
            let all = PageRequest {
                limit: REMEMBERED,
                after: None,
            };
            Ok(Some(store.list(organization, user, all).await?.into()))
        };
        let key = caches::conversations_key(organization, user);
        let newest = self.caches.conversations.get_or_load(key, newest).await?;
        Ok(newest.unwrap_or_default().first(page.limit))
    }

    pub async fn get(&self, caller: &SessionOwner, id: ConversationId) -> Result<Conversation, ConversationError> {
        self.store
            .get(caller.organization, caller.user, id)
            .await?
            .ok_or(ConversationError::NotFound)
    }

    /// A conversation and a window of its messages, oldest first: the newest, or those before `before`.
    pub async fn read(
        &self,
        caller: &SessionOwner,
        id: ConversationId,
        before: Option<Cursor>,
        max: WindowLimit,
    ) -> Result<ConversationPage, ConversationError> {
        let conversation = self.get(caller, id).await?;
        let (messages, earlier) = self.messages.window(caller.organization, id, before, max).await?;
        Ok(ConversationPage {
            conversation,
            messages,
            earlier,
        })
    }

    pub async fn change(
        &self,
        caller: &SessionOwner,
        id: ConversationId,
        change: ConversationChange,
    ) -> Result<Conversation, ConversationError> {
        self.models.first_look().await;
        let change = self.check(change)?;
        let (store, organization, user) = (self.store.clone(), caller.organization, caller.user);
        let now = self.clock.now();
        let changing = async move {
            let (title, model) = (change.title.as_deref(), change.model.as_deref());
            store.update(organization, user, id, title, model, now).await
        };
        self.write(organization, user, changing)
            .await?
            .ok_or(ConversationError::NotFound)
    }

    pub async fn delete(&self, caller: &SessionOwner, id: ConversationId) -> Result<(), ConversationError> {
        let (store, organization, user) = (self.store.clone(), caller.organization, caller.user);
        let running = self.running.clone();
        let (act, now) = (act_of(caller), self.clock.now());
        let deleting = async move {
            let outcome = store.delete(organization, user, id, &act, now).await;
            // Whoever was not told whether it is gone finds out by the next checkpoint.
            if matches!(outcome, Ok(true)) {
                running.end(id);
            }
            outcome
        };
        if !self.write(organization, user, deleting).await? {
            return Err(ConversationError::NotFound);
        }
        tracing::info!(target: "mapleai::security", organization_id = %organization, user_id = %user, conversation_id = %id, "conversation deleted");
        Ok(())
    }
}
