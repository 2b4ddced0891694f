//! The events of an answer, with as much of it rendered as its reader can use.

use std::{
    borrow::Cow,
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::response::sse::Event;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    api_error::ApiError,
    http::{body::MessageBody, render::Problem},
    web::markdown,
};
use domain::{conversation::Message, ids::OrganizationId, tokens::TokenUsage};
use llm::sse::Progress;
use people::answers::AnswerEvent;

/// Between two renderings of a growing answer: smooth to the eye, cheap for both ends.
const RENDER_INTERVAL: Duration = Duration::from_millis(150);
/// Each rendering is the whole answer again, so they come less often as it grows: one more interval for so many bytes of HTML,
/// which bounds what a second sends and draws. What comes in between is in the `delta` events.
const HTML_PER_INTERVAL: usize = 8 * 1024;

#[derive(Serialize)]
struct Started {
    user: Option<MessageBody>,
    assistant: MessageBody,
}

/// `reason`, `detail` and `retry_after` are the message's, for readers who look no further.
#[derive(Serialize)]
struct Done {
    reason: Option<Cow<'static, str>>,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
    message: MessageBody,
    html: Option<String>,
    usage: UsageBody,
    /// The conversation may get another title within seconds, by its model; absent where it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    titling: bool,
}

/// A problem document that also says what is stored.
#[derive(Serialize)]
struct Broken<'a> {
    #[serde(flatten)]
    problem: Problem<'a>,
    reason: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
    message: MessageBody,
    html: Option<String>,
}

#[derive(Serialize)]
struct UsageBody {
    input_tokens: u64,
    output_tokens: u64,
    /// The provider did not count: these are estimates.
    estimated: bool,
    /// Of output, from the first to the end. Absent where it came too fast to tell, as remembered answers do.
    tokens_per_second: Option<f64>,
}

/// What is over sooner says nothing of a model's speed.
const SHORTEST: Duration = Duration::from_millis(100);

impl UsageBody {
    fn new(tokens: TokenUsage, took: Option<Duration>) -> Self {
        let speed = |took: Duration| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "no answer has so many tokens that it would show"
            )]
            let speed = tokens.output as f64 / took.as_secs_f64();
            (speed * 10.0).round() / 10.0
        };
        let took = took.filter(|took| *took >= SHORTEST && tokens.output > 0);
        Self {
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            estimated: tokens.estimated,
            tokens_per_second: took.map(speed),
        }
    }
}

struct Rendering {
    /// Whose answer it is, if its reader wants it rendered.
    organization: Option<OrganizationId>,
    text: String,
    thoughts: String,
    last: Instant,
    interval: Duration,
    request_id: String,
}

pub(super) fn of(
    receiver: mpsc::Receiver<AnswerEvent>,
    organization: Option<OrganizationId>,
    request_id: String,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let rendering = Rendering {
        organization,
        text: String::new(),
        thoughts: String::new(),
        last: Instant::now(),
        interval: RENDER_INTERVAL,
        request_id,
    };
    stream::unfold((receiver, rendering), |(mut receiver, mut rendering)| async move {
        let event = receiver.recv().await?;
        let events = rendering.events_of(event).await;
        Some((stream::iter(events), (receiver, rendering)))
    })
    .flatten()
    .map(Ok)
}

impl Rendering {
    async fn events_of(&mut self, event: AnswerEvent) -> Vec<Event> {
        match event {
            AnswerEvent::Started { question, answer } => {
                vec![named(
                    "message",
                    &Started {
                        user: question.map(Into::into),
                        assistant: answer.into(),
                    },
                )]
            }
            AnswerEvent::Delta(text) => {
                let mut events = vec![named("delta", &serde_json::json!({ "text": text }))];
                if let Some(organization) = self.organization {
                    self.text.push_str(&text);
                    if self.last.elapsed() >= self.interval
                        && let Some(html) = markdown::render_if_idle(organization, self.text.clone()).await
                    {
                        let html = markdown::thoughts(&self.thoughts) + &html;
                        let intervals = 1 + html.len() / HTML_PER_INTERVAL;
                        self.interval = RENDER_INTERVAL * u32::try_from(intervals).unwrap_or(u32::MAX);
                        self.last = Instant::now();
                        events.push(named("render", &serde_json::json!({ "html": html })));
                    }
                }
                events
            }
            AnswerEvent::Reading(Progress { read, total }) => {
                vec![named("reading", &serde_json::json!({ "read": read, "total": total }))]
            }
            AnswerEvent::Thoughts(text) => {
                self.thoughts.push_str(&text);
                vec![named("thoughts", &serde_json::json!({ "text": text }))]
            }
            AnswerEvent::Done {
                answer,
                tokens,
                took,
                is_titled,
            } => {
                let html = self.html_of(&answer).await;
                let message = MessageBody::from(answer);
                let done = Done {
                    reason: message.reason.clone(),
                    detail: message.detail.clone(),
                    retry_after: message.retry_after,
                    message,
                    html,
                    usage: UsageBody::new(tokens, took),
                    titling: is_titled,
                };
                vec![named("done", &done)]
            }
            AnswerEvent::Failed { answer, error } => {
                let html = self.html_of(&answer).await;
                let message = MessageBody::from(answer);
                let error = ApiError::from(error);
                let broken = Broken {
                    problem: Problem::new(&error, &self.request_id),
                    reason: message.reason.clone(),
                    retry_after: message.retry_after,
                    message,
                    html,
                };
                vec![named("error", &broken)]
            }
        }
    }

    /// All of the answer, if its reader wants it so.
    async fn html_of(&self, answer: &Message) -> Option<String> {
        let organization = self.organization?;
        let thoughts = answer.thoughts.as_deref().map(markdown::thoughts).unwrap_or_default();
        let html = markdown::render(organization, vec![answer.content.clone()])
            .await
            .pop()?;
        Some(thoughts + &html)
    }
}

fn named(name: &'static str, data: &impl Serialize) -> Event {
    // Only strings and numbers: nothing in it can fail to serialise.
    Event::default().event(name).json_data(data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{TokenUsage, UsageBody};
    use std::time::Duration;

    #[test]
    fn a_speed_is_told_of_what_took_long_enough_to_have_one() {
        let tokens = TokenUsage {
            output: 60,
            ..TokenUsage::default()
        };
        let speed = |tokens, took| UsageBody::new(tokens, took).tokens_per_second;
        assert_eq!(speed(tokens, Some(Duration::from_millis(6500))), Some(9.2));
        assert_eq!(speed(tokens, Some(Duration::from_millis(3))), None, "remembered");
        assert_eq!(speed(tokens, None), None);
        assert_eq!(speed(TokenUsage::default(), Some(Duration::from_secs(1))), None);
    }
}
