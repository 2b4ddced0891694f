//! Why a request has had no response, in the words that all providers have for it.

use std::{error::Error, io, time::Duration};

use hyper_util::client::legacy;

use super::connection::ClosedUnanswered;
use crate::ProviderError;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(super) struct ConnectTimedOut(pub(super) Duration);

/// The bound on connections was reached, and none became free in time.
#[derive(Debug, thiserror::Error)]
#[error("all {max} connections were in use for {waited:?}")]
pub(super) struct NoFreeConnection {
    pub(super) max: usize,
    pub(super) waited: Duration,
}

/// How a request may go out once more, which the server has most likely not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The server is closing the connection and names the requests that it takes no more: any other connection will do.
    Pooled,
    /// On a connection that nothing else uses.
    Fresh,
}

/// Whether a request may go out again. HTTP/1.1 shows no more than a connection that had been idle and ended without a byte of an answer; HTTP/2 says
/// so by `GOAWAY` and `REFUSED_STREAM` (RFC 9113 8.7).
pub(super) fn again(error: &legacy::Error) -> Option<Again> {
    causes(error).find_map(|cause| {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            let inner = io.get_ref()?;
            return inner.is::<ClosedUnanswered>().then_some(Again::Fresh);
        }
        let h2 = cause.downcast_ref::<h2::Error>()?;
        if h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR) {
            return Some(Again::Pooled);
        }
        (h2.is_remote() && h2.reason() == Some(h2::Reason::REFUSED_STREAM)).then_some(Again::Fresh)
    })
}

/// `limit` is the one on connecting.
#[cold]
pub(super) fn unanswered(error: legacy::Error, limit: Duration) -> ProviderError {
    if let Some(full) = causes(&error).find_map(|cause| cause.downcast_ref::<NoFreeConnection>()) {
        return ProviderError::NoConnection {
            max: full.max,
            waited: full.waited,
        };
    }
    if error.is_connect() {
        return if is_connect_timeout(&error) {
            ProviderError::ConnectTimeout(limit)
        } else {
            ProviderError::Unreachable(Box::new(error))
        };
    }
    let of_hyper = causes(&error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
    if of_hyper.is_some_and(hyper::Error::is_parse_too_large) {
        return ProviderError::BadReply("its head is too large");
    }
    if of_hyper.is_some_and(hyper::Error::is_parse) {
        return ProviderError::BadReply("it is not HTTP/1.1");
    }
    let of_h2 = causes(&error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    if of_h2.is_some_and(h2::Error::is_library) {
        return ProviderError::BadReply("it is not HTTP/2");
    }
    ProviderError::BrokenOff(Box::new(error))
}

/// Whether a failure to connect is one that took too long, by our limit or by the system's own.
fn is_connect_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<ConnectTimedOut>() || is_of(cause, io::ErrorKind::TimedOut))
}

/// Whether nobody listens at the address, so that nothing has been sent.
pub(crate) fn is_refused(error: &ProviderError) -> bool {
    let ProviderError::Unreachable(source) = error else {
        return false;
    };
    causes(&**source).any(|cause| is_of(cause, io::ErrorKind::ConnectionRefused))
}

/// The error and what caused it, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

fn is_of(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    let system = error.downcast_ref::<io::Error>();
    system.is_some_and(|error| error.kind() == kind)
}
