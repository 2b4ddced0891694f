//! Answers to people: one question, one streamed answer, both kept whatever happens to the reader.

mod begin;
mod ending;
mod event;
mod history;
pub mod spool;
mod upkeep;
pub mod writer;

use chrono::{DateTime, TimeDelta, Utc};
use spool::Spool;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::{
    conversations::{ConversationError, Conversations},
    titles::Titles,
};
use domain::{
    account::SessionOwner,
    clock::Clock,
    conversation::{Author, MAX_MESSAGE_LENGTH, Message, MessageStatus, title_from},
    field::Faults,
    ids::{ConversationId, MessageId},
    model::ModelKind,
    text,
};
pub use event::{AnswerError, AnswerEvent, AnswerFailure};
use gateway::{completions::Completions, models::Models};
use store::{self, messages::WindowLimit};
use telemetry::feature::Feature;

/// Earlier messages that go with a question, newest first: what models with large contexts take.
const HISTORY_LIMIT: WindowLimit = WindowLimit {
    messages: 1_000,
    bytes: 400_000,
};

/// An answer that is asked for.
struct AnswerRequest {
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
    titles: Titles,
    spool: Option<Spool>,
    clock: Clock,
    tasks: TaskTracker,
}

impl Answers {
    #[expect(clippy::too_many_arguments, reason = "called once, by the composition root")]
    pub fn new(
        completions: Completions,
        conversations: Conversations,
        messages: store::messages::Messages,
        models: Models,
        titles: Titles,
        spool: Option<Spool>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            completions,
            conversations,
            messages,
            models,
            titles,
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
        self.models.first_look().await;
        let mut faults = Faults::default();
        let content = faults.check("content", text::block(content, MAX_MESSAGE_LENGTH));
        self.check_model(&mut faults, model.as_deref());
        let Some(content) = content.filter(|_| faults.is_empty()) else {
            return Err(ConversationError::Invalid(faults.into_vec()).into());
        };
        let found = self
            .conversations
            .read(caller, conversation, None, HISTORY_LIMIT)
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
            AnswerRequest {
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
        self.models.first_look().await;
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
            .window(caller.organization, conversation, Some(question.place()), HISTORY_LIMIT)
            .await?;
        let last = replaces.last().copied().or(Some(question.id));
        history.push(question);
        Feature::AnswerRegenerated.note();
        let model = self.choose_model(model, found.model)?;
        self.begin(
            caller,
            AnswerRequest {
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

    /// What was asked for, else what the conversation used last if it still exists, else the one for who has chosen none.
    fn choose_model(&self, asked: Option<String>, last: Option<String>) -> Result<String, AnswerError> {
        let last = last.filter(|model| {
            self.models
                .get(model)
                .is_some_and(|model| model.kind == ModelKind::Chat)
        });
        let preferred = || self.models.preferred_chat().map(|model| model.id.to_string());
        asked.or(last).or_else(preferred).ok_or(AnswerError::NoModel)
    }
}
