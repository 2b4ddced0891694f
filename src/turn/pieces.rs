//! Bodies in pieces of a bounded size.
//!
//! What a connection is about to write is put together in one buffer, which stays as large as it ever was. So a large body is
//! handed over piece by piece, and a connection that has carried one keeps a buffer of less than 80 KiB.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// While so much waits to be written on a connection, hyper takes no further piece; and it reads no further ahead, so that the head of a
/// request or answer has to fit, but for what the last read brings. In bytes. A buffer in which there is no room for a piece more, which
/// makes 40 KiB, doubles.
pub const MAX_BUFFERED_BYTES: usize = 32 * 1024;
/// Bytes in a piece. A body no larger than this is not touched.
const PIECE: usize = 8 * 1024;

/// A body whose frames are no larger than a piece.
pub struct Pieces<B> {
    body: B,
    /// Of the last frame.
    rest: Bytes,
}

impl<B> Pieces<B> {
    pub fn new(body: B) -> Self {
        Self {
            body,
            rest: Bytes::new(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() > PIECE => self.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                ended => return ended,
            }
        }
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
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
    use super::{PIECE, Pieces};
    use bytes::Bytes;
    use http_body::Body;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::Frame;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_nothing_is_large_and_the_length_is_told_all_the_while(length in 0..5 * PIECE) {
            let whole: Bytes = (0..length).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut body = Pieces::new(Full::new(whole.clone()));
            let mut seen = Vec::new();
            while let Some(frame) = runtime.block_on(body.frame()) {
                let piece = frame.unwrap().into_data().unwrap();
                prop_assert!((1..=PIECE).contains(&piece.len()));
                seen.extend_from_slice(&piece);
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
            Frame::data(Bytes::from(vec![1; PIECE + 1])),
            Frame::data(Bytes::from_static(b"end")),
            Frame::trailers(trailers.clone()),
        ];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, std::convert::Infallible>));
        let mut body = Pieces::new(StreamBody::new(frames));
        let mut sizes = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => sizes.push(data.len()),
                Err(other) => assert_eq!(other.into_trailers().unwrap(), trailers),
            }
        }
        assert_eq!(sizes, [PIECE, 1, 3]);
    }
}
