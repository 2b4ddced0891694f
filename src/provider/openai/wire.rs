//! One connection to an upstream, moved by whoever waits for its answer.
//!
//! hyper's connection is a future that somebody has to poll, commonly a task of its own: then each request and each piece of
//! an answer wakes one task more. Here it is polled by the task that wants the answer, which is woken for nothing else. An
//! idle connection is polled by nobody, and what has happened to it meanwhile shows when it is used again.

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
use crate::write_coalescing::{ChunkedBody, CoalescedIo};

/// A request as it goes out.
pub(super) type Sent = Request<Whole>;
pub(super) type Whole = ChunkedBody<Full<Bytes>>;
pub(super) type Sender = SendRequest<Whole>;
pub(super) type Carrier = Connection<CoalescedIo<ReadOn<MaybeHttpsStream<TokioIo<TcpStream>>>>, Whole>;

/// Dropping it closes the connection.
pub(super) struct Wire {
    sender: Sender,
    mover: Mover,
    opened: Instant,
}

impl Wire {
    pub(super) fn new(sender: Sender, carrier: Carrier) -> Self {
        let relay = Arc::<Relay>::default();
        let mover = Mover {
            carrier: Some(carrier),
            waker: Arc::clone(&relay).into(),
            relay,
            waits: false,
            left_over: 0,
        };
        Self {
            sender,
            mover,
            opened: Instant::now(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.mover.carrier.is_none() || self.sender.is_closed()
    }

    pub(super) fn is_older_than(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) > age
    }

    /// It has ended, and no byte of another answer had come.
    pub(super) fn has_died_unanswered(&mut self) -> bool {
        // It may have told of its end without having ended.
        self.settles();
        self.mover.carrier.is_none() && self.mover.left_over == 0
    }

    /// Whether the answer before is over, so that another request is taken.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Moves a connection on that nobody waits for. Whether it takes another request then.
    pub(super) fn settles(&mut self) -> bool {
        self.mover.waits = false;
        let mut nobody = Context::from_waker(Waker::noop());
        let _ = self.mover.drive::<()>(&mut nobody, |_| Poll::Pending);
        !self.is_closed() && self.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Sent) -> Result<Response<Incoming>, TrySendError<Sent>> {
        let Self { sender, mover, .. } = self;
        mover.waits = false;
        let mut answering = pin!(sender.try_send_request(request));
        poll_fn(|context| mover.drive(context, |quiet| answering.as_mut().poll(quiet))).await
    }

    /// The next piece of the answer that `body` is.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.mover
            .drive(context, |quiet| Pin::new(&mut *body).poll_frame(quiet))
    }

    /// Nobody waits for anything any more.
    pub(super) fn rest(&self) {
        self.mover.relay.task.take();
    }
}

struct Mover {
    /// Until it has ended.
    carrier: Option<Carrier>,
    relay: Arc<Relay>,
    waker: Waker,
    /// Nothing was found the last time, and the connection will tell when that changes.
    waits: bool,
    /// What it had read of an answer when it ended, in bytes.
    left_over: usize,
}

impl Mover {
    /// Looks for what `look` waits for, moves the connection on, and looks again.
    fn drive<T>(&mut self, context: &mut Context<'_>, mut look: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        // hyper wakes a task that takes a body once more than there is something to do.
        if self.waits && !self.relay.has_woken(context.waker()) {
            return Poll::Pending;
        }
        self.waits = false;
        let mut relayed = Context::from_waker(&self.waker);
        if let Poll::Ready(found) = look(&mut relayed) {
            return Poll::Ready(found);
        }
        self.relay.begin();
        if let Some(carrier) = &mut self.carrier
            && Pin::new(carrier).poll(&mut relayed).is_ready()
        {
            // What went wrong is told to whoever waits for the answer.
            self.left_over = self
                .carrier
                .take()
                .map_or(0, |carrier| carrier.into_parts().read_buf.len());
        }
        if let Poll::Ready(found) = look(&mut relayed) {
            return Poll::Ready(found);
        }
        if self.relay.end(context.waker()) {
            // Not at once in a loop: it may be tokio that wants this task to let others have their turn.
            context.waker().wake_by_ref();
        } else {
            self.waits = true;
        }
        Poll::Pending
    }
}

/// Stands between the connection and the task that moves it, which is not to be woken for what it does itself, nor for a
/// connection that it has given back.
#[derive(Default)]
struct Relay {
    task: AtomicWaker,
    /// The connection is being looked at: there is no need to wake who does it.
    busy: AtomicBool,
    woken: AtomicBool,
}

impl Relay {
    fn begin(&self) {
        self.busy.store(true, Ordering::SeqCst);
        self.woken.store(false, Ordering::SeqCst);
    }

    /// From now on `task` is woken. Whether something has happened since `begin`.
    fn end(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.busy.store(false, Ordering::SeqCst);
        self.woken.load(Ordering::SeqCst)
    }

    /// Whether something has happened since `end`; if not, `task` is woken when it does.
    fn has_woken(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for Relay {
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
