//! Answers to people: one question, one streamed answer, both kept whatever happens to the reader.

mod begin;
mod ending;
mod history;
pub mod spool;
pub mod writer;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use spool::Spool;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    activity::Feature,
    completions::{CompletionError, Completions},
    conversations::{ConversationError, Conversations},
    field::Faults,
    models::Models,
};
use crate::{
    domain::{
        account::SessionOwner,
        clock::Clock,
        conversation::{Author, Ending, LONGEST_MESSAGE, Message, MessageStatus, title_from},
        ids::{ConversationId, MessageId, OrganizationId},
        model::ModelKind,
        text,
        tokens::TokenUsage,
    },
    provider::sse::said::Objection,
    store::{self, StoreError, messages::Most},
};

/// Earlier messages that go with a question, newest first: what models with large contexts take.
const MOST_HISTORY: Most = Most {
    messages: 1_000,
    bytes: 400_000,
};

#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error("the conversation has no question to answer")]
    NothingAsked,
    #[error("no chat model is configured")]
    NoModel,
    #[error("another answer is being written in the conversation")]
    InProgress,
    #[error("the conversation has messages that the question does not know of")]
    Changed,
    #[error("the task that stores the question ended before it had")]
    Ended,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a reader of an answer sees, in this order: `Started`, any number of `Thoughts` and `Delta`, then `Done` or `Failed`.
#[derive(Debug)]
pub enum AnswerEvent {
    /// `question` is absent when an answer is asked for again.
    Started {
        question: Option<Message>,
        answer: Message,
    },
    /// What the model writes before its answer.
    Thoughts(String),
    Delta(String),
    /// `answer.ending` says if there is something to tell all the same.
    Done {
        answer: Message,
        tokens: TokenUsage,
    },
    /// What had arrived is kept in `answer`, with the reason.
    Failed {
        answer: Message,
        error: AnswerFailure,
    },
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFailure {
    #[error(transparent)]
    Completion(#[from] CompletionError),
    #[error(transparent)]
    Stream(#[from] super::completions::stream::StreamError),
    /// The upstream's refusal, such as of a prompt that is too long.
    #[error("the provider refused the request with status {status}")]
    Refused {
        status: http::StatusCode,
        objection: Objection,
        retry_after: Option<Duration>,
    },
    #[error("the conversation was deleted")]
    Deleted,
    /// The text was shown but could not be kept.
    #[error(transparent)]
    Store(Arc<StoreError>),
}

/// An answer that is asked for.
struct Asked {
    conversation: ConversationId,
    /// Absent when it is asked for again.
    question: Option<Message>,
    /// The newest message there is, as far as the caller knows.
    last: Option<MessageId>,
    /// Oldest first, and the question at its end.
    history: Vec<Message>,
    model: String,
    title: Option<String>,
    replaces: Vec<MessageId>,
}

#[derive(Clone)]
pub struct Answers {
    completions: Completions,
    conversations: Conversations,
    messages: store::messages::Messages,
    models: Models,
    spool: Option<Spool>,
    clock: Clock,
    tasks: TaskTracker,
}

impl Answers {
    pub fn new(
        completions: Completions,
        conversations: Conversations,
        messages: store::messages::Messages,
        models: Models,
        spool: Option<Spool>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            completions,
            conversations,
            messages,
            models,
            spool,
            clock,
            tasks,
        }
    }

    /// Asks a question. The question is stored when this returns; events follow as the answer is written. Dropping the
    /// receiver stops the answer and keeps what there is of it.
    pub async fn ask(
        &self,
        caller: &SessionOwner,
        conversation: ConversationId,
        content: &str,
        model: Option<String>,
    ) -> Result<mpsc::Receiver<AnswerEvent>, AnswerError> {
        let mut faults = Faults::default();
        let content = faults.check("content", text::block(content, LONGEST_MESSAGE));
        self.check_model(&mut faults, model.as_deref());
        let Some(content) = content.filter(|_| faults.is_empty()) else {
            return Err(ConversationError::Invalid(faults.into_vec()).into());
        };
        let found = self
            .conversations
            .read(caller, conversation, None, MOST_HISTORY)
            .await?;
        let mut history = found.messages;
        let last = history.last().map(|message| message.id);
        let model = self.choose_model(model, found.conversation.model)?;
        let question = Message {
            id: MessageId::generate(),
            author: Author::User,
            content: content.to_owned(),
            thoughts: None,
            model: None,
            status: MessageStatus::Complete,
            ending: None,
            created_at: self.after(&history),
        };
        history.push(question.clone());
        let title = title_from(content);
        Feature::QuestionAsked.note();
        self.begin(
            caller,
            Asked {
                conversation,
                question: Some(question),
                last,
                history,
                model,
                title: Some(title),
                replaces: Vec::new(),
            },
        )
        .await
    }

    /// Asks for the last answer again. The old one stands until the new one has text.
    pub async fn regenerate(
        &self,
        caller: &SessionOwner,
        conversation: ConversationId,
        model: Option<String>,
    ) -> Result<mpsc::Receiver<AnswerEvent>, AnswerError> {
        let mut faults = Faults::default();
        self.check_model(&mut faults, model.as_deref());
        if !faults.is_empty() {
            return Err(ConversationError::Invalid(faults.into_vec()).into());
        }
        let found = self.conversations.get(caller, conversation).await?;
        let (question, replaces) = self
            .messages
            .last_question(caller.organization, conversation)
            .await?
            .ok_or(AnswerError::NothingAsked)?;
        let (mut history, _) = self
            .messages
            .window(caller.organization, conversation, Some(question.place()), MOST_HISTORY)
            .await?;
        let last = replaces.last().copied().or(Some(question.id));
        history.push(question);
        Feature::AnswerRegenerated.note();
        let model = self.choose_model(model, found.model)?;
        self.begin(
            caller,
            Asked {
                conversation,
                question: None,
                last,
                history,
                model,
                title: None,
                replaces,
            },
        )
        .await
    }

    /// Now, but after every message so far: their order must not hang on a clock that stands still for a microsecond, or
    /// is set back.
    fn after(&self, history: &[Message]) -> DateTime<Utc> {
        let last = history.iter().map(|message| message.created_at).max();
        let next = last.map(|last| last + TimeDelta::microseconds(1));
        next.map_or(self.clock.now(), |next| next.max(self.clock.now()))
    }

    fn check_model(&self, faults: &mut Faults, model: Option<&str>) {
        if let Some(model) = model
            && self.models.get(model).is_none_or(|model| model.kind != ModelKind::Chat)
        {
            faults.add("model", "must be the id of a chat model; GET /api/models lists them");
        }
    }

    /// What was asked for, else what the conversation used last if it still exists, else the first of the catalogue.
    fn choose_model(&self, asked: Option<String>, last: Option<String>) -> Result<String, AnswerError> {
        let last = last.filter(|model| {
            self.models
                .get(model)
                .is_some_and(|model| model.kind == ModelKind::Chat)
        });
        let first = || {
            self.models
                .list()
                .find(|model| model.kind == ModelKind::Chat)
                .map(|model| model.id.to_string())
        };
        asked.or(last).or_else(first).ok_or(AnswerError::NoModel)
    }

    /// Stores the answers that were put aside while the database was away, by this process or one before it. Gives how many.
    pub async fn store_spooled(&self) -> Result<u64, StoreError> {
        let Some(spool) = &self.spool else { return Ok(0) };
        let mut stored = 0;
        for path in spool.list().await {
            let Some(finished) = spool.read(path.clone()).await else {
                continue;
            };
            let (answer, hidden) = (finished.message(), finished.hidden());
            let organization = OrganizationId(finished.organization);
            let kept = self
                .messages
                .finish_answer(organization, &answer, &hidden, finished.at)
                .await;
            match kept {
                Ok(_) => {
                    stored += 1;
                    spool.done(path, None).await;
                }
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => spool.done(path, Some(error)).await,
            }
        }
        Ok(stored)
    }

    /// Closes answers whose writer died with its process. Gives how many.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let ending = Ending::new(
            "interrupted",
            "The server that wrote this answer was restarted. Try again.",
        );
        self.messages
            .close_abandoned(now - writer::SILENCE_MEANS_DEATH, &ending, now)
            .await
    }
}
