//! Titles of conversations, by a free model on this machine, in the background.
//!
//! The first words of a conversation are its title until its model gives a better one. The model is called once the first
//! answer is stored, and the call is neither counted nor charged: no person made it. It runs on the machine that answers
//! people, so it yields to them: a question cancels it at once, and it starts again when the server has been idle for a
//! while. Whatever fails, the first words stay.

mod asking;
mod wording;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::conversations::Conversations;
use asking::Untold;
use domain::{
    conversation::{Author, Message, title_from},
    ids::{ConversationId, OrganizationId, UserId},
};
use provider::{
    Registry,
    registry::{OpenCalls, Route},
};

/// Conversations that wait for a title, in all.
const MAX_QUEUED: usize = 4;
/// How long a server must have been idle before it is asked again after a question interrupted it.
const IDLE: Duration = Duration::from_secs(3);
/// Time limit for one answer. A model without a few words by then is busy with other calls.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Time limit including all interruptions; after it the first words remain the title.
const TITLE_TIMEOUT: Duration = Duration::from_mins(2);

/// Cheap to clone.
#[derive(Clone)]
pub struct Titles(Arc<TitlesInner>);

struct TitlesInner {
    registry: Arc<Registry>,
    conversations: Conversations,
    is_on: bool,
    queue: Arc<Semaphore>,
    waiting: Mutex<HashSet<ConversationId>>,
    /// Locked during a call: one call at a time is enough for the machine.
    asking: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A conversation that is to be given a title when its first answer is stored.
pub(super) struct Untitled {
    titles: Titles,
    route: Route,
    calls: OpenCalls,
    organization: OrganizationId,
    user: UserId,
    conversation: ConversationId,
    /// The first words, its title until then.
    automatic: String,
    body: bytes::Bytes,
}

/// A conversation in the queue, until dropped.
struct QueuedTitle {
    titles: Titles,
    conversation: ConversationId,
    _permit: OwnedSemaphorePermit,
}

impl Titles {
    pub fn new(
        registry: Arc<Registry>,
        conversations: Conversations,
        is_on: bool,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(TitlesInner {
            registry,
            conversations,
            is_on,
            queue: Arc::new(Semaphore::new(MAX_QUEUED)),
            waiting: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            tasks,
            stop,
        }))
    }

    /// For a conversation whose first question is in `history` and has no answer. `None` if its model costs something or
    /// runs elsewhere.
    pub(super) fn untitled(
        &self,
        organization: OrganizationId,
        user: UserId,
        conversation: ConversationId,
        history: &[Message],
        model: &str,
    ) -> Option<Untitled> {
        let is_first = history.iter().all(|message| message.author == Author::User);
        let question = history.first().filter(|_| is_first && self.0.is_on)?;
        let route = self.0.registry.route(model)?;
        let calls = route.upstream.open_calls.clone()?;
        route.model.is_unpriced().then(|| Untitled {
            titles: self.clone(),
            route: route.clone(),
            calls,
            organization,
            user,
            conversation,
            automatic: title_from(&question.content),
            body: wording::request_body(&route.model.upstream, &question.content),
        })
    }

    /// `None` if the queue is full, or this conversation is in it.
    fn enqueue(&self, conversation: ConversationId) -> Option<QueuedTitle> {
        let permit = Arc::clone(&self.0.queue).try_acquire_owned().ok()?;
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(conversation).then(|| QueuedTitle {
            titles: self.clone(),
            conversation,
            _permit: permit,
        })
    }
}

impl Untitled {
    /// Starts in the background. False if the queue is full: the title is then dropped.
    pub(super) fn begin(self) -> bool {
        // What answers in a model's place has no title either.
        if self.route.upstream.provider.edition().is_none() {
            return false;
        }
        let Some(enqueue) = self.titles.enqueue(self.conversation) else {
            return false;
        };
        let inner = Arc::clone(&self.titles.0);
        let stop = inner.stop.clone();
        inner.tasks.spawn(async move {
            let giving = tokio::time::timeout(TITLE_TIMEOUT, self.give());
            let conversation = enqueue.conversation.0;
            match stop.run_until_cancelled_owned(giving).await {
                Some(Ok(Ok(given))) => tracing::debug!(target: "mapleai::titles", %conversation, given, "a title was made"),
                Some(Ok(Err(error))) => {
                    tracing::debug!(target: "mapleai::titles", %conversation, error = %telemetry::error_chain(&error), "the first words stay the title");
                }
                Some(Err(_)) | None => tracing::debug!(target: "mapleai::titles", %conversation, "the model had no time for a title"),
            }
            drop(enqueue);
        });
        true
    }

    /// Calls the model until no question interrupts, and stores the title. False if it was not stored: a title that the
    /// person set is left alone.
    async fn give(&self) -> Result<bool, Untold> {
        let mut idle = Duration::ZERO;
        loop {
            self.calls.none_for(idle).await;
            let _asking = self.titles.0.asking.lock().await;
            if !self.is_automatic().await? {
                return Ok(false);
            }
            let said = tokio::select! {
                // Checked first: a question that came meanwhile takes precedence.
                biased;
                () = self.calls.any() => None,
                said = tokio::time::timeout(ANSWER_LIMIT, self.ask()) => Some(said.unwrap_or(Err(Untold::Slow(ANSWER_LIMIT)))),
            };
            if let Some(said) = said {
                return self.store(&said?).await;
            }
            idle = IDLE;
        }
    }
}

impl Drop for QueuedTitle {
    fn drop(&mut self) {
        let mut waiting = self.titles.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&self.conversation);
    }
}
