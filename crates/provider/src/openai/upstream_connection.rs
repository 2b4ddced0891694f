//! One connection to an upstream, polled by the task that waits for its response.
//!
//! hyper's connection is a future that has to be polled, commonly by a separate task: then each request and each chunk of a
//! response wakes one task more. Here the task that wants the response polls it. An idle connection is not polled; whether the
//! upstream has closed it meanwhile shows at its next use.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Frame, Incoming},
    client::conn::{
        TrySendError,
        http1::{Connection, SendRequest},
    },
};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::read_on::ReadOn;
use concurrency::write_coalescing::{ChunkedBody, CoalescedIo};

/// A request as it goes out.
pub(super) type Sent = Request<Whole>;
pub(super) type Whole = ChunkedBody<Full<Bytes>>;
pub(super) type Sender = SendRequest<Whole>;
pub(super) type Http1Connection = Connection<CoalescedIo<ReadOn<MaybeHttpsStream<TokioIo<TcpStream>>>>, Whole>;

/// An HTTP/1 connection together with its driver. Dropping it closes the connection.
pub(super) struct UpstreamConnection {
    sender: Sender,
    driver: ConnectionDriver,
    opened: Instant,
}

impl UpstreamConnection {
    pub(super) fn new(sender: Sender, http1: Http1Connection) -> Self {
        let relay = Arc::<WakerRelay>::default();
        let driver = ConnectionDriver {
            http1: Some(http1),
            waker: Arc::clone(&relay).into(),
            relay,
            is_waiting: false,
            left_over: 0,
        };
        Self {
            sender,
            driver,
            opened: Instant::now(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.driver.http1.is_none() || self.sender.is_closed()
    }

    pub(super) fn is_older_than(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) > age
    }

    /// Whether the connection ended before a byte of the response came.
    pub(super) fn has_died_unanswered(&mut self) -> bool {
        // The sender may report the end before the connection future has finished.
        self.poll_idle();
        self.driver.http1.is_none() && self.driver.left_over == 0
    }

    /// Whether the last response is complete, so that another request can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Polls an idle connection once. Whether it can send another request then.
    pub(super) fn poll_idle(&mut self) -> bool {
        self.driver.is_waiting = false;
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.driver.drive::<()>(&mut context, |_| Poll::Pending);
        !self.is_closed() && self.is_ready()
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Sent) -> Result<Response<Incoming>, TrySendError<Sent>> {
        let Self { sender, driver, .. } = self;
        driver.is_waiting = false;
        let mut answering = pin!(sender.try_send_request(request));
        poll_fn(|context| driver.drive(context, |context| answering.as_mut().poll(context))).await
    }

    /// The next frame of `body`, the response's body.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.driver
            .drive(context, |context| Pin::new(&mut *body).poll_frame(context))
    }

    /// Forgets the task that waited for the connection.
    pub(super) fn clear_waker(&self) {
        self.driver.relay.task.take();
    }
}

struct ConnectionDriver {
    /// `None` once it has ended.
    http1: Option<Http1Connection>,
    relay: Arc<WakerRelay>,
    waker: Waker,
    /// The last poll was pending, and the relay records the next wake-up.
    is_waiting: bool,
    /// Bytes of a response that were read but not parsed when the connection ended.
    left_over: usize,
}

impl ConnectionDriver {
    /// Polls `poll_result`, then the connection, then `poll_result` again.
    fn drive<T>(
        &mut self,
        context: &mut Context<'_>,
        mut poll_result: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // hyper wakes a task that reads a body once more than necessary.
        if self.is_waiting && !self.relay.has_woken(context.waker()) {
            return Poll::Pending;
        }
        self.is_waiting = false;
        let mut relayed = Context::from_waker(&self.waker);
        if let Poll::Ready(found) = poll_result(&mut relayed) {
            return Poll::Ready(found);
        }
        self.relay.begin();
        if let Some(http1) = &mut self.http1
            && Pin::new(http1).poll(&mut relayed).is_ready()
        {
            // `poll_result` returns the error, if there was one.
            self.left_over = self.http1.take().map_or(0, |http1| http1.into_parts().read_buf.len());
        }
        if let Poll::Ready(found) = poll_result(&mut relayed) {
            return Poll::Ready(found);
        }
        if self.relay.end(context.waker()) {
            // Not in a loop here: tokio's cooperative budget may require this task to yield.
            context.waker().wake_by_ref();
        } else {
            self.is_waiting = true;
        }
        Poll::Pending
    }
}

/// The waker given to the connection. It does not wake the task while the task itself polls the connection, nor after the
/// connection has been released.
#[derive(Default)]
struct WakerRelay {
    task: AtomicWaker,
    /// The connection is being polled, so its task need not be woken.
    busy: AtomicBool,
    woken: AtomicBool,
}

impl WakerRelay {
    fn begin(&self) {
        self.busy.store(true, Ordering::SeqCst);
        self.woken.store(false, Ordering::SeqCst);
    }

    /// Wakes `task` from now on. Whether there was a wake-up since `begin`.
    fn end(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.busy.store(false, Ordering::SeqCst);
        self.woken.load(Ordering::SeqCst)
    }

    /// Whether there was a wake-up since `end`; if not, `task` is woken by the next one.
    fn has_woken(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for WakerRelay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.busy.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}
