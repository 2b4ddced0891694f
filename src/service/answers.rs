//! Answers to people: one question, one streamed answer, both kept whatever happens to the reader.

pub mod writer;

use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    activity::Feature,
    completions::{Account, Call, CompletionError, Completions, Freshness},
    conversations::{ConversationError, Conversations},
    field::Faults,
    models::Models,
};
use crate::{
    domain::{
        account::SessionOwner,
        clock::Clock,
        conversation::{Author, LONGEST_MESSAGE, Message, MessageStatus, title_from},
        ids::{ConversationId, MessageId},
        model::ModelKind,
        text,
        tokens::TokenUsage,
    },
    provider::Endpoint,
    store::{self, StoreError},
    telemetry::context,
};
use writer::Writer;

/// Text of earlier messages that goes with a question, in bytes, newest first: what models with large contexts take.
const MOST_HISTORY: usize = 400_000;
/// Events that wait for a slow reader before the upstream is made to wait.
const EVENTS_BUFFERED: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error("the conversation has no question to answer")]
    NothingAsked,
    #[error("no chat model is configured")]
    NoModel,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a reader of an answer sees, in this order: `Started`, any number of `Delta`, then `Done` or `Failed`.
#[derive(Debug)]
pub enum AnswerEvent {
    /// `question` is absent when an answer is asked for again.
    Started {
        question: Option<Message>,
        answer: Message,
    },
    Delta(String),
    Done {
        answer: Message,
        tokens: TokenUsage,
    },
    /// What had arrived is kept in `answer`.
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
    /// The upstream's refusal, such as a prompt that is too long.
    #[error("the provider refused the request with status {0}")]
    Refused(http::StatusCode),
    /// The text was shown but could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Answers {
    completions: Completions,
    conversations: Conversations,
    messages: store::messages::Messages,
    models: Models,
    clock: Clock,
    tasks: TaskTracker,
}

impl Answers {
    pub fn new(
        completions: Completions,
        conversations: Conversations,
        messages: store::messages::Messages,
        models: Models,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            completions,
            conversations,
            messages,
            models,
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
        let (found, mut history) = self.conversations.read(caller, conversation).await?;
        let model = self.choose_model(model, found.model)?;
        let question = Message {
            id: MessageId::generate(),
            author: Author::User,
            content: content.to_owned(),
            model: None,
            status: MessageStatus::Complete,
            created_at: self.after(&history),
        };
        history.push(question.clone());
        let title = title_from(content);
        Feature::QuestionAsked.note();
        self.begin(
            caller,
            conversation,
            Some(question),
            history,
            model,
            Some(&title),
            Vec::new(),
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
        let (found, mut history) = self.conversations.read(caller, conversation).await?;
        let asked = history
            .iter()
            .rposition(|message| message.author == Author::User)
            .ok_or(AnswerError::NothingAsked)?;
        Feature::AnswerRegenerated.note();
        let replaces = history.drain(asked + 1..).map(|message| message.id).collect();
        let model = self.choose_model(model, found.model)?;
        self.begin(caller, conversation, None, history, model, None, replaces)
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

    #[expect(clippy::too_many_arguments, reason = "the two callers above are the whole story")]
    async fn begin(
        &self,
        caller: &SessionOwner,
        conversation: ConversationId,
        question: Option<Message>,
        history: Vec<Message>,
        model: String,
        title: Option<&str>,
        replaces: Vec<MessageId>,
    ) -> Result<mpsc::Receiver<AnswerEvent>, AnswerError> {
        let arrived = Instant::now();
        let created_at = self.after(&history);
        let answer = Message {
            id: MessageId::generate(),
            author: Author::Assistant,
            content: String::new(),
            model: Some(model.clone()),
            status: MessageStatus::Streaming,
            created_at,
        };
        let begun = (question.clone(), answer.clone(), title.map(str::to_owned));
        let (messages, organization) = (self.messages.clone(), caller.organization);
        let beginning = async move {
            let (question, answer, title) = begun;
            messages
                .begin_answer(organization, conversation, question.as_ref(), &answer, title.as_deref())
                .await
        };
        self.conversations.write(organization, caller.user, beginning).await?;
        let call = Call {
            endpoint: Endpoint::ChatCompletions,
            account: Account {
                organization: caller.organization,
                user: caller.user,
                api_key: None,
            },
            body: request_body(&model, &history),
            traceparent: None,
            arrived,
            // Who asks again wants another answer.
            freshness: Freshness {
                reload: question.is_none(),
                ..Freshness::default()
            },
        };
        let (events, receiver) = mpsc::channel(EVENTS_BUFFERED);
        let writer = Writer {
            completions: self.completions.clone(),
            messages: self.messages.clone(),
            clock: self.clock.clone(),
            organization: caller.organization,
            answer: answer.clone(),
            replaces,
            events,
        };
        // Tracked: the process does not end before the answer is kept.
        let writing = writer.run(AnswerEvent::Started { question, answer }, call);
        match context::current() {
            Some(request) => self.tasks.spawn(context::within(request, writing)),
            None => self.tasks.spawn(writing),
        };
        Ok(receiver)
    }

    /// Closes answers whose writer died with its process. Gives how many.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.messages
            .close_abandoned(now - writer::SILENCE_MEANS_DEATH, now)
            .await
    }
}

/// The conversation in OpenAI's form, cut to what models take, newest kept.
fn request_body(model: &str, history: &[Message]) -> Bytes {
    let mut room = MOST_HISTORY;
    let mut kept: Vec<_> = history
        .iter()
        .rev()
        .filter(|message| !message.content.is_empty())
        .enumerate()
        .take_while(|(index, message)| {
            room = room.saturating_sub(message.content.len());
            // The question itself always goes.
            *index == 0 || room > 0
        })
        .map(|(_, message)| json!({"role": message.author.as_str(), "content": message.content}))
        .collect();
    kept.reverse();
    Bytes::from(json!({"model": model, "messages": kept, "stream": true}).to_string())
}
