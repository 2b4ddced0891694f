//! Bodies of answers, and what becomes of their connections.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{ENDING, Idle, MAX_DRAINING, MAX_IDLE, Pool, Wire};

/// An answer that nobody waits for any more, since all that matters of it has come.
pub(super) struct Ending {
    body: AnswerBody,
    since: Instant,
}

/// The body of an answer, with the connection that it comes on. Dropping it before the answer's end closes the connection,
/// which is how an upstream learns that nobody wants the rest.
pub(in crate::provider::openai) struct AnswerBody {
    pub(super) body: Incoming,
    pub(super) wire: Box<Wire>,
    pub(super) pool: Pool,
}

impl AnswerBody {
    /// The answer has been read to its end: the connection may be used again.
    pub(in crate::provider::openai) fn give_back(self) {
        let now = Instant::now();
        self.give_back_idle_since(now, now);
    }

    fn give_back_idle_since(self, since: Instant, now: Instant) {
        let Self { mut wire, pool, .. } = self;
        if wire.is_older_than(pool.0.max_age, now) {
            return;
        }
        // One that still sends what nobody reads any more would stand still in the pool.
        if !wire.is_ready() && !wire.settles() {
            return;
        }
        wire.rest();
        let mut idle = pool.idle();
        let old = idle
            .iter()
            .take_while(|one| now > one.since + pool.0.idle_timeout)
            .count();
        let too_many = (idle.len() + 1).saturating_sub(MAX_IDLE);
        let gone: Vec<_> = idle.drain(..old.max(too_many)).collect();
        idle.push_back(Idle { wire, since });
        drop(idle);
        // Closing sockets is not to hold up others.
        drop(gone);
    }

    /// All that matters of the answer has come; its end follows in the next packet, if not in the same. Closing the
    /// connection for that would cost the next call a new one. Nobody waits: later calls look whether it has come.
    pub(in crate::provider::openai) fn give_back_at_end(self) {
        let pool = self.pool.clone();
        let ending = Ending {
            body: self,
            since: Instant::now(),
        };
        let Some(ending) = ending.settle() else { return };
        let mut all = pool.ending();
        let too_many = if all.len() < MAX_DRAINING {
            None
        } else {
            all.pop_front()
        };
        all.push_back(ending);
        drop(all);
        drop(too_many);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, wire, .. } = &mut *self;
        wire.poll_frame(body, context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Ending {
    /// Gives the connection back if the answer has ended, and closes it if it goes on or takes too long.
    pub(super) fn settle(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.body).poll_frame(&mut context) {
            // From the last event on, however much later this is noticed: it grows old like any other.
            Poll::Ready(None) => self.body.give_back_idle_since(self.since, Instant::now()),
            Poll::Pending if self.since.elapsed() < ENDING => return Some(self),
            Poll::Pending | Poll::Ready(Some(_)) => {}
        }
        None
    }
}
