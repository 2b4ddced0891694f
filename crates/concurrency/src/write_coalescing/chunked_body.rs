//! Splits bodies into chunks of a bounded size.
//!
//! hyper gathers pending bytes in one buffer per connection, which never shrinks. A large body is therefore handed over
//! chunk by chunk, and a connection that has carried one keeps a buffer of less than 80 KiB.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// hyper takes no further chunk while so many bytes wait to be written on a connection. It also reads no further ahead, so the
/// head of a request or response has to fit, except for what the last read adds. A buffer without room for one more chunk,
/// which makes 40 KiB, doubles.
pub const MAX_BUFFERED_BYTES: usize = 32 * 1024;
/// Bytes in a chunk. A body no larger than this is passed on as it is.
const CHUNK: usize = 8 * 1024;

/// A body whose frames are no larger than a chunk.
pub struct ChunkedBody<B> {
    body: B,
    /// Of the last frame.
    rest: Bytes,
}

impl<B> ChunkedBody<B> {
    pub fn new(body: B) -> Self {
        Self {
            body,
            rest: Bytes::new(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ChunkedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() > CHUNK => self.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                ended => return ended,
            }
        }
        let chunk = self.rest.len().min(CHUNK);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, ChunkedBody};
    use bytes::Bytes;
    use http_body::Body;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::Frame;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_bytes_pass_in_small_chunks_and_the_size_hint_stays_exact(length in 0..5 * CHUNK) {
            let whole: Bytes = (0..length).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut body = ChunkedBody::new(Full::new(whole.clone()));
            let mut seen = Vec::new();
            while let Some(frame) = runtime.block_on(body.frame()) {
                let chunk = frame.unwrap().into_data().unwrap();
                prop_assert!((1..=CHUNK).contains(&chunk.len()));
                seen.extend_from_slice(&chunk);
                prop_assert_eq!(body.size_hint().exact(), Some((length - seen.len()) as u64));
                prop_assert_eq!(body.is_end_stream(), seen.len() == length);
            }
            prop_assert_eq!(seen, whole);
        }
    }

    #[tokio::test]
    async fn frames_stay_apart_and_trailers_pass() {
        let trailers = http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let frames = [
            Frame::data(Bytes::from(vec![1; CHUNK + 1])),
            Frame::data(Bytes::from_static(b"end")),
            Frame::trailers(trailers.clone()),
        ];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, std::convert::Infallible>));
        let mut body = ChunkedBody::new(StreamBody::new(frames));
        let mut sizes = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => sizes.push(data.len()),
                Err(other) => assert_eq!(other.into_trailers().unwrap(), trailers),
            }
        }
        assert_eq!(sizes, [CHUNK, 1, 3]);
    }
}
