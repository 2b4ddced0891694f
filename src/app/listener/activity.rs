//! Whether a connection is in use, so that an idle one can be told from one with a long stream.
//!
//! hyper's own header timeout also runs between requests, and sets a timer for each; this costs a few atomic operations.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    /// A request has come; it lasts until the result is dropped.
    pub(super) fn begin(&self) -> Active {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }

    pub(super) fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Nothing is under way, and nothing has begun since there were `seen` requests.
    pub(super) fn is_idle_since(&self, seen: u64) -> bool {
        let begun = self.begun();
        begun == seen && self.0.ended.load(Ordering::Relaxed) == begun
    }
}

/// A request under way, its response's body included.
pub(super) struct Active(Activity);

impl Active {
    pub(super) fn watch(self, body: Body) -> WatchedBody {
        WatchedBody { body, _active: self }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A response body that counts as activity until it is dropped.
pub(super) struct WatchedBody {
    body: Body,
    _active: Active,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;
    use axum::body::Body;

    #[test]
    fn a_stream_is_activity_until_its_body_is_gone() {
        let activity = Activity::default();
        assert!(activity.is_idle_since(0));
        let active = activity.begin();
        assert!(!activity.is_idle_since(1));
        let body = active.watch(Body::empty());
        assert!(!activity.is_idle_since(1));
        drop(body);
        assert!(activity.is_idle_since(1) && !activity.is_idle_since(0));
    }
}
