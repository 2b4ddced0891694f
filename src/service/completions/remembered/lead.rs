//! Leading: making a call that equal ones can join.

use std::sync::Arc;

use super::under_way::Before;
use crate::{
    provider::registry::Route,
    service::completions::{
        Answer, AnswerStream, Answered, Call, CompletionError, Completions, Wanted, ask,
        plan::{CacheStatus, Plan},
        request::Request,
        shared::{Begun, Keeping, NotBegun, Sending, SharedCall, SharedReader},
    },
};

impl Completions {
    /// Makes the call, for this caller and whoever joins. `before` is [`Cached::remembered`](crate::cache::Cached::remembered)
    /// before it was looked for an answer. It can be joined from the start, while it waits for a place: equal
    /// calls take one between them.
    pub(super) async fn lead(
        &self,
        call: &Call,
        request: &Request<'_>,
        route: &Route,
        plan: &Plan,
        before: u64,
    ) -> Result<Led, CompletionError> {
        let answers = &self.0.caches.answers;
        let keeping = Keeping {
            answers: answers.clone(),
            key: plan.key,
            choices: request.choices,
            endpoint: call.endpoint,
            max_bytes: self.0.remembering.longest(),
        };
        let wanted = Wanted::of(call, request, route);
        // What is sent is in there; the rest of the call is small.
        let asked = Call {
            body: wanted.body.clone(),
            ..call.clone()
        };
        let (this, by) = (self.clone(), route.clone());
        let entering = Box::pin(async move {
            let places = this.places(asked.account.organization).await?;
            let has_added_usage = wanted.has_added_usage;
            let (wanted, recorder) = this.begin(places, &asked, &by, wanted);
            let sending: Sending = Box::pin(async move { ask::ask(&by.upstream, wanted, has_added_usage).await });
            Ok((recorder, sending))
        });
        let shared = SharedCall::new(entering, keeping, self.allowance(call));
        let remembering = &self.0.remembering;
        if plan.reload {
            remembering.replace(plan.key, &shared);
        } else {
            let news = || answers.insert_count() != before;
            let peek = || news().then(|| answers.peek(&plan.key)).flatten();
            match remembering.add(plan.key, &shared, peek) {
                Ok(()) => {}
                Err(Before::UnderWay(other)) => return Ok(Led::Overtaken(other)),
                Err(Before::Over(hit)) => {
                    if let Some(answered) = self.replay(call, request.form(call.endpoint), route, plan.max_age, hit)? {
                        return Ok(Led::Answered(answered));
                    }
                    remembering.replace(plan.key, &shared);
                }
            }
        }
        let mut reader = SharedReader::new(shared, None, request.include_usage, self.0.stop.clone());
        let answer = match reader.begun().await {
            Ok(Begun::Whole { status, headers, body }) => Answer::Whole { status, headers, body },
            Ok(Begun::Stream { headers }) => Answer::Stream {
                headers,
                events: AnswerStream::Shared(Box::new(reader)),
            },
            Err(error) => {
                if !matches!(error, NotBegun::NoPlace(_)) {
                    remembering.note(CacheStatus::Miss);
                }
                return Err(error.into());
            }
        };
        remembering.note(CacheStatus::Miss);
        Ok(Led::Answered(Answered {
            answer,
            cache: CacheStatus::Miss,
        }))
    }
}

pub(super) enum Led {
    Answered(Answered),
    /// An equal call was there first.
    Overtaken(Arc<SharedCall>),
}
