//! Reads a whole body, within its limits on size, time and memory.

use std::{future::poll_fn, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as HttpBody;
use tokio::time::Instant;

use crate::api_error::ApiError;
use concurrency::{
    deadline::within_what_is_left,
    memory::{Budget, Holder, Reservation, SMALL},
};

/// Grace period; after it a body must have arrived at this average rate, in bytes per second. The slowest networks that
/// people use are faster.
const GRACE: Duration = Duration::from_secs(5);
const SLOWEST_RATE: usize = 4 * 1024;
/// Number of copies of a body in memory: as received, and as sent to the provider.
const COPIES: usize = 2;

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub bytes: usize,
    /// It has to arrive within this time.
    pub time: Duration,
}

/// The allowance that its bytes are charged to, if any.
pub(in crate::http) type Memory<'a> = Option<(&'a Budget, Holder)>;

/// Reads a body to its end. A body that came completely with its head, as most do, is not copied and takes nothing from the
/// budget.
pub(super) async fn whole<B>(
    headers: &HeaderMap,
    body: B,
    bounds: Bounds,
    memory: Memory<'_>,
) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes>,
{
    let limit = bounds.bytes;
    let mut body = pin!(body);
    let promised = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let asks_first = headers.contains_key(header::EXPECT);
    let mut room = Room { memory, had: None };
    // A client that is sending already would not see a response before the end (the connection would be reset), so a
    // refused body is read up to the limit and dropped. A client that asks first (RFC 9110 10.1.1) gets the error at once.
    let mut refused = None;
    if promised > limit {
        refused = Some(ApiError::too_large(limit));
    } else if promised > SMALL {
        refused = room.make(promised).await.err();
    }
    if asks_first && let Some(error) = refused {
        return Err(error);
    }
    let mut started = None;
    let (mut first, mut all, mut received) = (Bytes::new(), BytesMut::new(), 0);
    loop {
        let left = || allowed(received, bounds.time).saturating_sub(started.get_or_insert_with(Instant::now).elapsed());
        let next = within_what_is_left(left, poll_fn(|context| body.as_mut().poll_frame(context)));
        let Some(frame) = next.await.map_err(|_| ApiError::body_timeout())? else {
            break;
        };
        let Ok(frame) = frame else {
            return Err(incomplete());
        };
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received > limit {
            return Err(ApiError::too_large(limit));
        }
        if refused.is_some() || data.is_empty() {
            continue;
        }
        if received == data.len() {
            first = data;
            continue;
        }
        // Its length is known, or the buffer grows by half of itself, so that it is seldom copied and seldom waits.
        if let Err(error) = room.make(promised.max(received)).await {
            (first, all) = (Bytes::new(), BytesMut::new());
            refused = Some(error);
            continue;
        }
        if all.is_empty() {
            all.reserve(promised.max(received));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    if let Some(error) = refused {
        return Err(error);
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    Ok(match room.had {
        Some(reservation) => reservation.hold(bytes),
        None => bytes,
    })
}

/// The memory reserved for a body.
struct Room<'a> {
    memory: Memory<'a>,
    had: Option<Reservation>,
}

impl Room<'_> {
    async fn make(&mut self, bytes: usize) -> Result<(), ApiError> {
        let Some((budget, holder)) = self.memory else {
            return Ok(());
        };
        let had = self.had.get_or_insert_with(|| budget.of(holder).reserve());
        let wanted = COPIES * bytes;
        if wanted > had.bytes() {
            // The first reservation is exact, since the size is known then in most cases.
            let step = if had.bytes() == 0 { wanted } else { wanted + wanted / 2 };
            had.grow(step).await?;
        }
        Ok(())
    }
}

/// Time within which so many bytes must have arrived.
fn allowed(received: usize, longest: Duration) -> Duration {
    let at_slowest = Duration::from_millis((received * 1000 / SLOWEST_RATE) as u64);
    (GRACE + at_slowest).min(longest)
}

fn incomplete() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "incomplete_body",
        "The request body did not arrive whole.",
    )
}

#[cfg(test)]
mod tests {
    use super::{Bounds, GRACE, whole};
    use bytes::Bytes;
    use concurrency::memory::{Budget, Holder};
    use futures_util::{StreamExt as _, stream};
    use http::{HeaderMap, HeaderValue, header};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use std::{convert::Infallible, time::Duration};

    const MIB: usize = 1 << 20;

    /// So many bytes, in half a minute.
    fn up_to(bytes: usize) -> Bounds {
        let time = Duration::from_secs(30);
        Bounds { bytes, time }
    }

    fn parts(sizes: Vec<usize>, pause: Duration) -> impl http_body::Body<Data = Bytes, Error = Infallible> {
        StreamBody::new(stream::iter(sizes).then(move |size| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from(vec![b'x'; size])))
        }))
    }

    fn holder() -> Holder {
        Holder::Address("192.0.2.1".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_trickles_is_given_up_soon_and_what_is_slow_but_moves_is_read() {
        let none = HeaderMap::new();
        let began = tokio::time::Instant::now();
        let trickle = parts(vec![1; 100], Duration::from_secs(1));
        assert_eq!(
            whole(&none, trickle, up_to(MIB), None).await.unwrap_err().code,
            "body_timeout"
        );
        assert!(began.elapsed() <= GRACE + Duration::from_secs(1));
        let slow = parts(vec![8 * 1024; 20], Duration::from_secs(1));
        assert_eq!(whole(&none, slow, up_to(MIB), None).await.unwrap().len(), 20 * 8 * 1024);
        let began = tokio::time::Instant::now();
        let endless = parts(vec![8 * 1024; 100], Duration::from_secs(1));
        assert_eq!(
            whole(&none, endless, up_to(MIB), None).await.unwrap_err().code,
            "body_timeout"
        );
        assert!(began.elapsed() <= up_to(MIB).time + Duration::from_secs(1));
        // As much in all of that time as is set, and no more.
        let time = Duration::from_mins(2);
        let endless = parts(vec![8 * 1024; 100], Duration::from_secs(1));
        let patient = Bounds { time, bytes: MIB };
        assert_eq!(
            whole(&none, endless, patient, None).await.unwrap().len(),
            100 * 8 * 1024
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_grows_beyond_the_budget_is_refused_with_when_to_come_back() {
        let budget = Budget::new(MIB, Duration::from_secs(1));
        let memory = Some((&budget, holder()));
        let none = HeaderMap::new();
        // One eighth is a stranger's; what is read twice that is refused where somebody else has the rest.
        let fits = parts(vec![16 * 1024; 4], Duration::ZERO);
        let body = whole(&none, fits, up_to(MIB), memory).await.unwrap();
        let more = parts(vec![16 * 1024; 4], Duration::ZERO);
        let refused = whole(&none, more, up_to(MIB), memory).await.unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (503, "overloaded"));
        assert!(refused.retry_after.is_some());
        drop(body);
        let again = parts(vec![16 * 1024; 4], Duration::ZERO);
        assert_eq!(whole(&none, again, up_to(MIB), memory).await.unwrap().len(), 64 * 1024);
    }

    #[tokio::test]
    async fn who_asks_first_is_told_from_the_head_that_it_is_too_large() {
        let mut asks = HeaderMap::new();
        asks.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        let body = Full::new(Bytes::from(vec![b'x'; 11]));
        assert_eq!(
            whole(&asks, body, up_to(10), None).await.unwrap_err().code,
            "payload_too_large"
        );
        let body = Full::new(Bytes::from(vec![b'x'; 10]));
        assert_eq!(whole(&asks, body, up_to(10), None).await.unwrap().len(), 10);
    }
}
