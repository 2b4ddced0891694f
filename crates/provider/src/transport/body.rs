//! Bodies: of requests, with the mark that they have been sent, and of responses, with what counts them.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::SentMark;
use concurrency::write_coalescing::ChunkedBody;

/// Responses that are about to end: how many at most, for how long, and how many of them each call polls.
const MAX_DRAINING: usize = 64;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
const DRAINED_PER_CALL: usize = 4;

/// The body of a request. It is read once the request has a connection, and before its first byte is written.
pub(super) struct RequestBody {
    body: ChunkedBody<Full<Bytes>>,
    mark: SentMark,
}

impl RequestBody {
    pub(super) fn new(body: Bytes, mark: SentMark) -> Self {
        let body = ChunkedBody::new(Full::new(body));
        Self { body, mark }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.mark.set();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One request in flight on the connections of a client.
pub(super) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a response. Dropping it before the end tells the upstream to stop: of HTTP/1.1 it closes the connection, of HTTP/2 it
/// resets the one stream. Read to its end, it leaves the connection to later requests.
pub(crate) struct ResponseBody {
    pub(super) body: Incoming,
    pub(super) in_flight: InFlight,
    pub(super) draining: Arc<DrainingList>,
}

impl ResponseBody {
    /// Keeps the connection if the body ends soon. Its end usually follows in the next packet, so closing the connection instead would cost
    /// the next call a new one. No task waits for it: the connection's own task reads on, and later calls drop what has taken too long.
    pub(crate) fn drain(self) {
        self.draining.add(Draining {
            body: self.body,
            _in_flight: self.in_flight,
            since: Instant::now(),
        });
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response whose last relevant byte has come, and which is read only for its end.
struct Draining {
    body: Incoming,
    _in_flight: InFlight,
    since: Instant,
}

impl Draining {
    /// `None` if the body has ended, if more data comes, or if it takes too long.
    fn poll(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        let is_pending = Pin::new(&mut self.body).poll_frame(&mut context).is_pending();
        (is_pending && self.since.elapsed() < DRAIN_TIMEOUT).then_some(self)
    }
}

#[derive(Default)]
pub(super) struct DrainingList(Mutex<VecDeque<Draining>>);

impl DrainingList {
    fn add(&self, one: Draining) {
        let Some(one) = one.poll() else {
            return;
        };
        let mut all = self.lock();
        let too_many = if all.len() < MAX_DRAINING {
            None
        } else {
            all.pop_front()
        };
        all.push_back(one);
        drop(all);
        drop(too_many);
    }

    /// Polls some of them.
    pub(super) fn poll_some(&self) {
        let some: Vec<_> = {
            let mut all = self.lock();
            let count = all.len().min(DRAINED_PER_CALL);
            all.drain(..count).collect()
        };
        let still: Vec<_> = some.into_iter().filter_map(Draining::poll).collect();
        if !still.is_empty() {
            self.lock().extend(still);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Draining>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
