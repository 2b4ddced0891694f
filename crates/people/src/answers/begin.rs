//! Beginning an answer: the one task that keeps it.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::{
    AnswerError, AnswerEvent, AnswerRequest, Answers,
    writer::{AnswerWriter, SILENCE_MEANS_DEATH},
};
use crate::conversations::ConversationError;
use domain::{
    account::SessionOwner,
    conversation::{Author, Message, MessageStatus},
    ids::MessageId,
    principal::Principal,
};
use store::{
    StoreError,
    messages::{BeginOutcome, NewAnswer},
};
use telemetry::context;

/// Events that wait for a slow reader before the upstream is made to wait.
const EVENTS_BUFFERED: usize = 64;

impl Answers {
    pub(super) async fn begin(
        &self,
        caller: &SessionOwner,
        request: AnswerRequest,
    ) -> Result<mpsc::Receiver<AnswerEvent>, AnswerError> {
        let arrived = Instant::now();
        let AnswerRequest {
            conversation,
            question,
            last,
            history,
            model,
            title,
            replaces,
        } = request;
        let answer = Message {
            id: MessageId::generate(),
            author: Author::Assistant,
            content: String::new(),
            thoughts: None,
            model: Some(model.clone()),
            status: MessageStatus::Streaming,
            ending: None,
            created_at: self.after(&history),
        };
        let (events, receiver) = mpsc::channel(EVENTS_BUFFERED);
        let (organization, user) = (caller.organization, caller.user);
        let writer = AnswerWriter {
            completions: self.completions.clone(),
            messages: self.messages.clone(),
            spool: self.spool.clone(),
            clock: self.clock.clone(),
            principal: Principal::from(caller),
            // Entered before anything is stored: a deletion that comes in between is not missed.
            running: self.conversations.begin_answer(conversation),
            untitled: self.titles.untitled(organization, user, conversation, &history, &model),
            history,
            model,
            arrived,
            // Who asks again wants another answer.
            reload: question.is_none(),
            answer: answer.clone(),
            replaces,
            events,
            begun: None,
            took: None,
        };
        let (stored, outcome) = oneshot::channel();
        let (messages, conversations) = (self.messages.clone(), self.conversations.clone());
        let alive_since = self.clock.now() - SILENCE_MEANS_DEATH;
        // One task from the first write to the last, so that a place for an answer never stands without somebody who
        // closes it, whenever the reader goes away. Tracked: the process does not end before the answer is kept.
        let writing = async move {
            let new = NewAnswer {
                organization,
                user,
                conversation,
                question: question.as_ref(),
                answer: &answer,
                title: title.as_deref(),
                last,
                alive_since,
            };
            let outcome = result_of(messages.begin_answer(new).await);
            let is_stored = outcome.is_ok();
            if is_stored {
                conversations.forget_list(organization, user).await;
            }
            // Whoever has gone away meanwhile is found out by the writer.
            let _ = stored.send(outcome);
            if is_stored {
                writer.run(AnswerEvent::Started { question, answer }).await;
            }
        };
        match context::current() {
            Some(request) => self.tasks.spawn(context::within(request, writing)),
            None => self.tasks.spawn(writing),
        };
        outcome.await.map_err(|_| AnswerError::Ended)??;
        Ok(receiver)
    }
}

fn result_of(outcome: Result<BeginOutcome, StoreError>) -> Result<(), AnswerError> {
    match outcome? {
        BeginOutcome::Stored => Ok(()),
        BeginOutcome::NotFound => Err(ConversationError::NotFound.into()),
        BeginOutcome::InProgress => Err(AnswerError::InProgress),
        BeginOutcome::Changed => Err(AnswerError::Changed),
    }
}
