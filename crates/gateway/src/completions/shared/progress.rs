//! Drives a shared call step by step: reads events, retains them, and records the end.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{End, Head, Progress, Stage, StorePolicy, may_be_stored};
use crate::completions::{as_json, record::Recorder, stored::StoredAnswer, stream::COUNTS_AFTER_MARK, validation};
use domain::{tokens::TokenUsage, usage::CallOutcome};
use llm::{Endpoint, sse};
use provider::{ProviderError, ProviderReply};

impl Progress {
    /// One step; ready when there is something new to find.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Over => return Poll::Pending,
            Stage::Admitting(admitting) => match std::task::ready!(admitting.as_mut().poll(context)) {
                Ok((recorder, sending)) => {
                    self.recorder = Some(recorder);
                    self.stage = Stage::Sending(sending);
                }
                Err(error) => {
                    self.stage = Stage::Over;
                    self.end = Some(End::NoCapacity(error));
                }
            },
            Stage::Sending(sending) => match std::task::ready!(sending.as_mut().poll(context)) {
                Ok(ProviderReply::Whole { status, headers, body }) => self.take_whole(status, headers, body),
                Ok(ProviderReply::Events { headers, events }) => {
                    self.head = Some(Head::Stream { headers });
                    self.stage = Stage::Streaming(events);
                }
                Err(error) => self.fail(error),
            },
            Stage::Streaming(events) => match std::task::ready!(events.as_mut().poll_next(context)) {
                Some(Ok(item)) => {
                    self.take_item(&item);
                    self.count();
                }
                Some(Err(error)) => self.fail(error),
                None => self.finish(),
            },
            Stage::Counting(events, timer) => match events.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(item))) => {
                    self.take_counts(&item);
                    self.finish();
                }
                Poll::Ready(_) => self.finish(),
                Poll::Pending => {
                    std::task::ready!(timer.as_mut().poll(context));
                    self.finish();
                }
            },
        }
        Poll::Ready(())
    }

    fn take_whole(&mut self, status: StatusCode, headers: HeaderMap, body: Bytes) {
        self.stage = Stage::Over;
        if !status.is_success() {
            self.record(|recorder| recorder.refuse(status));
            self.head = Some(Head::Whole { status, headers, body });
            self.end = Some(End::Done(TokenUsage::default(), None));
            return;
        }
        let body = match validation::whole(self.store_policy.endpoint, body.clone()) {
            Ok(body) => body,
            Err(error) => {
                if let Some(usage) = validation::spent(&body) {
                    self.record(|recorder| recorder.note_usage(usage));
                }
                return self.fail(error);
            }
        };
        let headers = as_json(headers);
        let info = sse::scan_chunk(&body);
        self.record(|recorder| {
            recorder.note_text(info.text_bytes);
            if let Some(usage) = info.usage {
                recorder.note_usage(usage);
            }
            recorder.finish(CallOutcome::Completed);
        });
        let usage = self.tokens();
        let is_answer = match self.store_policy.endpoint {
            // An empty answer is not stored, or every caller would get it until it expires.
            Endpoint::ChatCompletions => self.is_complete(info.complete) && info.has_substance,
            Endpoint::Embeddings => info.has_data,
        };
        let is_kept = is_answer && body.len() <= self.store_policy.max_bytes && may_be_stored(&headers);
        let stored = is_kept.then(|| self.keep(StoredAnswer::whole(&body, usage)));
        self.head = Some(Head::Whole { status, headers, body });
        self.end = Some(End::Done(usage, stored));
    }

    /// Cuts the usage chunk and `[DONE]` out of the stream: each reader decides whether to send them.
    fn take_item(&mut self, item: &Bytes) {
        let mut from = 0;
        let mut is_over = false;
        for event in sse::events(item) {
            let data = event.data();
            let range = event.range();
            if sse::is_done(data) {
                self.push(item.slice(from..range.start));
                from = item.len();
                self.validation.is_marked = true;
                is_over = true;
                self.take_counts(&item.slice(range.end..));
                break;
            }
            let chunk = sse::scan_chunk(data);
            let stage = &mut self.stage;
            self.validation.note(&chunk, |reached| {
                if let Stage::Streaming(events) = stage {
                    events.as_mut().reached(reached);
                }
            });
            self.has_substance |= chunk.has_substance;
            self.complete += chunk.complete;
            if chunk.text_bytes > 0 {
                self.record(|recorder| recorder.note_text(chunk.text_bytes));
            }
            if let Some(usage) = chunk.usage {
                self.record(|recorder| recorder.note_usage(usage));
                if !chunk.has_choices {
                    self.push(item.slice(from..range.start));
                    self.usage_chunk = item.slice(range.clone());
                    from = range.end;
                }
            }
            if chunk.failed || chunk.is_malformed || event.is_error() {
                self.validation.has_failed = true;
                self.push(item.slice(from..range.start));
                if let Some(recorder) = &self.recorder {
                    let event = validation::error_event(recorder.provider(), data);
                    self.push(event);
                }
                from = item.len();
                is_over = true;
                self.take_counts(&item.slice(range.end..));
                break;
            }
        }
        self.push(item.slice(from..));
        if !is_over {
            return;
        }
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Streaming(events) if !self.recorder.as_ref().is_some_and(Recorder::is_counted) => {
                let timer = Box::pin(tokio::time::sleep(COUNTS_AFTER_MARK));
                self.stage = Stage::Counting(events, timer);
            }
            _ => self.finish(),
        }
    }

    /// Takes events after `[DONE]`: only their usage is passed on, as the usage chunk.
    fn take_counts(&mut self, item: &Bytes) {
        for event in sse::events(item) {
            if let Some(usage) = sse::scan_chunk(event.data()).usage {
                self.record(|recorder| recorder.note_usage(usage));
                self.usage_chunk = item.slice(event.range());
            }
        }
    }

    fn finish(&mut self) {
        self.stage = Stage::Over;
        if self.end.is_some() {
            return;
        }
        match self.validation.end() {
            Ok(()) => self.record(|recorder| recorder.finish(CallOutcome::Completed)),
            // The caller has seen the upstream's error event.
            Err(error @ ProviderError::ErrorInAnswer) => self.record(|recorder| recorder.fail(&error)),
            Err(error) => return self.fail(error),
        }
        let usage = self.tokens();
        let is_whole = self.validation.is_marked && !self.validation.has_failed;
        let may_be_stored = self.head.as_ref().is_none_or(Head::may_be_stored);
        let is_kept =
            is_whole && may_be_stored && !self.is_too_long() && self.is_complete(self.complete) && self.has_substance;
        let stored = is_kept.then(|| {
            let items = self.items.make_contiguous();
            let answer = StoredAnswer::events(items, &self.usage_chunk, usage);
            self.keep(answer)
        });
        self.end = Some(End::Done(usage, stored));
    }

    fn is_complete(&self, complete: u32) -> bool {
        self.store_policy.choices > 0 && complete == self.store_policy.choices
    }

    fn keep(&self, answer: StoredAnswer) -> StoredAnswer {
        let StorePolicy { answers, key, .. } = &self.store_policy;
        answers.keep(*key, answer.clone());
        answer
    }

    pub(super) fn fail(&mut self, error: ProviderError) {
        self.stage = Stage::Over;
        self.record(|recorder| recorder.fail(&error));
        self.end = Some(End::Failed(Some(error)));
    }

    pub(super) fn record(&mut self, note: impl FnOnce(&mut Recorder)) {
        if let Some(recorder) = &mut self.recorder {
            note(recorder);
        }
    }

    pub(super) fn tokens(&self) -> TokenUsage {
        self.recorder.as_ref().map(Recorder::tokens).unwrap_or_default()
    }
}
