//! Beginning an answer: what the model is asked, and the one task that keeps the answer.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{AnswerError, AnswerEvent, Answers, MOST_HISTORY, writer::Writer};
use crate::{
    domain::{
        account::SessionOwner,
        conversation::{Author, Message, MessageStatus},
        ids::{ConversationId, MessageId},
    },
    provider::Endpoint,
    service::completions::{Account, Call, Freshness},
    telemetry::context,
};

/// Events that wait for a slow reader before the upstream is made to wait.
const EVENTS_BUFFERED: usize = 64;

impl Answers {
    #[expect(clippy::too_many_arguments, reason = "its two callers are the whole story")]
    pub(super) async fn begin(
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
        let (stored, outcome) = oneshot::channel();
        let (messages, conversations) = (self.messages.clone(), self.conversations.clone());
        let (organization, user, title) = (caller.organization, caller.user, title.map(str::to_owned));
        // One task from the first write to the last, so that a place for an answer never stands without somebody who
        // closes it, whenever the reader goes away. Tracked: the process does not end before the answer is kept.
        let writing = async move {
            let begun = messages
                .begin_answer(organization, conversation, question.as_ref(), &answer, title.as_deref())
                .await;
            let is_stored = begun.is_ok();
            if is_stored {
                conversations.forget_list(organization, user).await;
            }
            // Whoever has gone away meanwhile is found out by the writer.
            let _ = stored.send(begun);
            if is_stored {
                writer.run(AnswerEvent::Started { question, answer }, call).await;
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

/// The conversation in OpenAI's form, cut to what models take, newest kept.
fn request_body(model: &str, history: &[Message]) -> Bytes {
    let mut room = usize::try_from(MOST_HISTORY.bytes).unwrap_or(usize::MAX);
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
