//! The one thread that computes, and the queue before it.
//!
//! Answers take turns, a token or a piece of a prompt each, so that a long answer does not keep a short one waiting. Each is computed by
//! itself: what others ask at the same time does not change a bit of it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use super::{
    Model,
    generation::{Generation, Job},
};

/// Jobs that wait, at most; one more is refused.
pub const MAX_WAITING: usize = 16;

/// Answers that are made at the same time, at most.
const MAX_ACTIVE: usize = 4;

/// Tokens that an answer makes for each piece that is read of another's prompt: a piece takes as long as a dozen tokens, and one for one
/// an answer would nearly stop.
const TOKENS_BESIDE_PROMPT: usize = 8;

/// The queue is full.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} requests are waiting already")]
pub struct QueueFull;

/// Hands jobs to the thread. Dropping the last one ends it.
pub struct Scheduler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    active: usize,
    ended: bool,
}

impl Scheduler {
    /// `token_budget` bounds the tokens for which answers in the making hold memory: at least the model's context, so that every allowed
    /// job fits by itself.
    pub fn start(model: Arc<Model>, token_budget: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            model,
            token_budget,
        };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub fn submit(&self, job: Job) -> Result<(), QueueFull> {
        let mut state = self.shared.lock();
        if state.waiting.len() >= MAX_WAITING {
            state.waiting.retain(|job| !job.is_abandoned());
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(QueueFull);
        }
        state.waiting.push_back(job);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Jobs that wait, and answers in the making.
    pub fn load(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.waiting.len(), state.active)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    /// A panic of another holder left no half-changed state: each change is one operation.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    shared: Arc<Shared>,
    model: Arc<Model>,
    token_budget: usize,
}

impl Worker {
    fn run(self) {
        let mut active: VecDeque<Generation> = VecDeque::new();
        while self.admit(&mut active) {
            let beside_prompt = active.iter().any(Generation::is_reading);
            if let Some(mut generation) = active.pop_front()
                && self.step(&mut generation, beside_prompt)
            {
                active.push_back(generation);
            }
        }
    }

    /// Whether there is more to do.
    fn step(&self, generation: &mut Generation, beside_prompt: bool) -> bool {
        let steps = if beside_prompt && !generation.is_reading() {
            TOKENS_BESIDE_PROMPT
        } else {
            1
        };
        (0..steps).all(|_| generation.step(&self.model))
    }

    /// Begins the jobs that fit, in their order, and waits while there is nothing to do. False at the end.
    fn admit(&self, active: &mut VecDeque<Generation>) -> bool {
        let mut state = self.shared.lock();
        loop {
            if state.ended {
                return false;
            }
            let mut used: usize = active.iter().map(Generation::tokens).sum();
            while let Some(job) = state.waiting.pop_front() {
                if job.is_abandoned() {
                    continue;
                }
                if active.len() >= MAX_ACTIVE || used + job.tokens() > self.token_budget {
                    state.waiting.push_front(job);
                    break;
                }
                used += job.tokens();
                active.push_back(Generation::new(job, &self.model));
            }
            state.active = active.len();
            if !active.is_empty() {
                return true;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
