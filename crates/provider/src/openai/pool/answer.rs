//! Response bodies, and the return of their connections to the pool.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{DRAIN_TIMEOUT, Idle, MAX_DRAINING, MAX_IDLE, Pool, UpstreamConnection};

/// A response whose last relevant byte has come, and which is read only for its end.
pub(super) struct DrainingBody {
    body: AnswerBody,
    since: Instant,
}

/// A response body with its connection. Dropping it before the end closes the connection, which tells the upstream to stop.
pub(in crate::openai) struct AnswerBody {
    pub(super) body: Incoming,
    pub(super) connection: Box<UpstreamConnection>,
    pub(super) pool: Pool,
}

impl AnswerBody {
    /// Returns the connection to the pool after the body has been read to its end.
    pub(in crate::openai) fn release(self) {
        let now = Instant::now();
        self.release_idle_since(now, now);
    }

    fn release_idle_since(self, since: Instant, now: Instant) {
        let Self {
            mut connection, pool, ..
        } = self;
        if connection.is_older_than(pool.0.max_age, now) {
            return;
        }
        // A connection with unread data would never become ready in the pool.
        if !connection.is_ready() && !connection.poll_idle() {
            return;
        }
        connection.clear_waker();
        let mut idle = pool.idle();
        let old = idle
            .iter()
            .take_while(|one| now > one.since + pool.0.idle_timeout)
            .count();
        let too_many = (idle.len() + 1).saturating_sub(MAX_IDLE);
        let gone: Vec<_> = idle.drain(..old.max(too_many)).collect();
        idle.push_back(Idle { connection, since });
        drop(idle);
        // Sockets are closed outside the lock.
        drop(gone);
    }

    /// Returns the connection once the body has ended. The end usually follows in the next packet, so closing the connection
    /// instead would cost the next call a new one. No task waits for it: later calls poll for the end.
    pub(in crate::openai) fn drain_then_release(self) {
        let pool = self.pool.clone();
        let draining = DrainingBody {
            body: self,
            since: Instant::now(),
        };
        let Some(draining) = draining.poll_drained() else {
            return;
        };
        let mut all = pool.draining();
        let too_many = if all.len() < MAX_DRAINING {
            None
        } else {
            all.pop_front()
        };
        all.push_back(draining);
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
        let Self { body, connection, .. } = &mut *self;
        connection.poll_frame(body, context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl DrainingBody {
    /// Releases the connection if the body has ended, and closes it if more data comes or it takes too long.
    pub(super) fn poll_drained(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.body).poll_frame(&mut context) {
            // Idle since the last event, however late the end is noticed.
            Poll::Ready(None) => self.body.release_idle_since(self.since, Instant::now()),
            Poll::Pending if self.since.elapsed() < DRAIN_TIMEOUT => return Some(self),
            Poll::Pending | Poll::Ready(Some(_)) => {}
        }
        None
    }
}
