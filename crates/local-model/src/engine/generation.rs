//! One answer in the making: reads its prompt piece by piece, then makes one token after the other.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    Model,
    network::{ComputeError, Memory},
    sampler::{Sampler, Sampling},
    text::TextAssembler,
};

/// What a caller asks for, checked and with its prompt made.
pub struct Job {
    pub prompt: Vec<u32>,
    /// Tokens of the answer, at most. With the prompt's no more than the model's context.
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub stops: Vec<String>,
    /// Not bounded by itself: it holds no more than `max_tokens` pieces, each of a few bytes. A caller who is gone has dropped the other end.
    pub events: UnboundedSender<Event>,
    /// How many tokens of the prompt have been read.
    pub progress: Arc<AtomicUsize>,
}

impl Job {
    /// The tokens for which it takes memory.
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.max_tokens
    }

    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Text of the answer, whole characters.
    Text(String),
    /// The last event of an answer.
    Finished { reason: Finish, completion_tokens: usize },
    /// The last event of one that failed.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model's own end, or a stop of the caller's.
    Stop,
    /// The limit of tokens, or of the context.
    Length,
}

impl Finish {
    /// OpenAI's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens of a prompt that are read at once. More are quicker by a little, and hold up other answers for longer.
const PROMPT_PIECE: usize = 64;

pub struct Generation {
    job: Job,
    memory: Memory,
    sampler: Sampler,
    text: TextAssembler,
    made: usize,
    /// The token to read next, once the prompt has been read.
    last: Option<u32>,
}

impl Generation {
    pub fn new(mut job: Job, model: &Model) -> Self {
        Self {
            memory: model.network.memory(job.tokens()),
            sampler: Sampler::new(job.sampling.clone()),
            text: TextAssembler::new(std::mem::take(&mut job.stops)),
            made: 0,
            last: None,
            job,
        }
    }

    pub fn tokens(&self) -> usize {
        self.job.tokens()
    }

    /// Whether its prompt is still being read.
    pub fn is_reading(&self) -> bool {
        self.last.is_none()
    }

    /// Reads a piece of the prompt or makes one token. Whether there is more to do.
    pub fn step(&mut self, model: &Model) -> bool {
        if self.job.is_abandoned() {
            return false;
        }
        match self.scores(model) {
            Ok(None) => true,
            Ok(Some(mut scores)) => {
                let token = self.sampler.choose(&mut scores);
                self.take(token, model)
            }
            Err(ComputeError::GivenUp) => false,
            Err(ComputeError::Failed(error)) => {
                tracing::error!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "computing an answer failed"
                );
                self.send(Event::Failed(
                    "the computation failed; the log has the cause".to_owned(),
                ));
                false
            }
        }
    }

    /// Nothing while some of the prompt is left to read.
    fn scores(&mut self, model: &Model) -> Result<Option<Vec<f32>>, ComputeError> {
        let events = &self.job.events;
        let is_given_up = || events.is_closed();
        if let Some(last) = self.last {
            return model.network.read(&[last], &mut self.memory, &is_given_up).map(Some);
        }
        let from = self.memory.tokens();
        let to = self.job.prompt.len().min(from + PROMPT_PIECE);
        let scores = model
            .network
            .read(&self.job.prompt[from..to], &mut self.memory, &is_given_up)?;
        self.job.progress.store(to, Ordering::Relaxed);
        Ok((to == self.job.prompt.len()).then_some(scores))
    }

    fn take(&mut self, token: u32, model: &Model) -> bool {
        if model.vocabulary.is_control(token) {
            return self.finish(Finish::Stop);
        }
        self.made += 1;
        self.last = Some(token);
        let text = self.text.push(model.vocabulary.bytes(token));
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
        if self.text.is_stopped() {
            return self.finish(Finish::Stop);
        }
        if self.made >= self.job.max_tokens {
            return self.finish(Finish::Length);
        }
        true
    }

    fn finish(&mut self, reason: Finish) -> bool {
        let rest = self.text.finish();
        if !rest.is_empty() {
            self.send(Event::Text(rest));
        }
        self.send(Event::Finished {
            reason,
            completion_tokens: self.made,
        });
        false
    }

    /// A caller who is gone misses nothing; the next step ends the work.
    fn send(&self, event: Event) {
        self.job.events.send(event).ok();
    }
}
