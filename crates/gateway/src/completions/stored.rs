//! A cached answer, in the form in which it was received.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

use super::{CallResponse, stream::AnswerStream};
use cache::Value;
use domain::tokens::TokenUsage;
use llm::conversion;
use llm::frame::{DONE, Frame, FrameKind};
use llm::outbound::usage_of_body;

/// One pointer.
#[derive(Debug, Clone)]
pub struct StoredAnswer(Arc<Stored>);

#[derive(Debug)]
struct Stored {
    form: StoredForm,
    body: Bytes,
    /// The usage chunk of a stream; empty if it had none.
    usage_chunk: Bytes,
    usage: TokenUsage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoredForm {
    Whole,
    /// Events without the usage chunk and `[DONE]`.
    Events,
}

impl StoredAnswer {
    pub(super) fn whole(body: &Bytes, usage: TokenUsage) -> Self {
        Self(Arc::new(Stored {
            form: StoredForm::Whole,
            // A slice of a larger buffer would keep all of it.
            body: Bytes::copy_from_slice(body),
            usage_chunk: Bytes::new(),
            usage,
        }))
    }

    pub(super) fn events<'a>(
        frames: impl IntoIterator<Item = &'a Frame>,
        usage_chunk: &Bytes,
        usage: TokenUsage,
    ) -> Self {
        Self(Arc::new(Stored {
            form: StoredForm::Events,
            // Comments are signs of life, and not part of the answer.
            body: frames
                .into_iter()
                .filter(|frame| frame.kind != FrameKind::Comment)
                .fold(BytesMut::new(), |mut body, frame| {
                    body.extend_from_slice(&frame.bytes);
                    body
                })
                .freeze(),
            usage_chunk: Bytes::copy_from_slice(usage_chunk),
            usage,
        }))
    }

    /// Tokens consumed by the original call.
    pub(super) fn usage(&self) -> TokenUsage {
        self.0.usage
    }

    /// The answer without streaming. `None` if it cannot be converted.
    pub(super) fn as_whole(&self) -> Option<Bytes> {
        match self.0.form {
            StoredForm::Whole => Some(self.0.body.clone()),
            StoredForm::Events => conversion::chunks_to_completion(&self.0.body, &self.0.usage_chunk).map(Bytes::from),
        }
    }

    /// The answer as a stream: all events, with the usage chunk if it was requested.
    pub(super) fn as_events(&self, with_usage: bool) -> Option<Bytes> {
        let stored = &self.0;
        let (events, usage) = match stored.form {
            StoredForm::Events => (stored.body.clone(), stored.usage_chunk.clone()),
            StoredForm::Whole => {
                conversion::completion_to_chunks(&stored.body).map(|(events, usage)| (events.into(), usage.into()))?
            }
        };
        let usage = if with_usage { &usage[..] } else { &[] };
        Some([&events, usage, DONE].concat().into())
    }
}

/// A completion for a caller that requested a stream; unchanged if it cannot be converted.
pub(super) fn as_stream(status: StatusCode, mut headers: HeaderMap, body: Bytes, with_usage: bool) -> CallResponse {
    let tokens = usage_of_body(&body, true).reported.map(TokenUsage::from);
    let answer = StoredAnswer::whole(&body, tokens.unwrap_or_default());
    let Some(events) = answer.as_events(with_usage) else {
        return CallResponse::Whole { status, headers, body };
    };
    headers.remove(header::CONTENT_TYPE);
    CallResponse::Stream {
        headers,
        events: AnswerStream::stored(events, answer.usage()),
    }
}

impl Value for StoredAnswer {
    const SCHEMA: u8 = 2;

    fn weight(&self) -> usize {
        size_of::<Stored>() + self.0.body.len() + self.0.usage_chunk.len()
    }

    fn encode(&self) -> Vec<u8> {
        let stored = &self.0;
        let mut out = Vec::with_capacity(40 + stored.body.len() + stored.usage_chunk.len());
        out.put_u8(u8::from(stored.form == StoredForm::Events));
        out.put_u8(u8::from(stored.usage.estimated));
        out.put_u64_le(stored.usage.input);
        out.put_u64_le(stored.usage.output);
        out.put_u64_le(stored.usage.cached_input);
        out.put_u32_le(u32::try_from(stored.usage_chunk.len()).unwrap_or(u32::MAX));
        out.put_slice(&stored.usage_chunk);
        out.put_slice(&stored.body);
        out
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        let mut rest = bytes.clone();
        let form = match rest.try_get_u8().ok()? {
            0 => StoredForm::Whole,
            1 => StoredForm::Events,
            _ => return None,
        };
        let estimated = rest.try_get_u8().ok()? != 0;
        let usage = TokenUsage {
            input: rest.try_get_u64_le().ok()?,
            output: rest.try_get_u64_le().ok()?,
            cached_input: rest.try_get_u64_le().ok()?,
            estimated,
        };
        let chunk = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        if chunk > rest.len() {
            return None;
        }
        let usage_chunk = rest.split_to(chunk);
        Some(Self(Arc::new(Stored {
            form,
            body: rest,
            usage_chunk,
            usage,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::StoredAnswer;
    use bytes::Bytes;
    use cache::Value;
    use domain::tokens::TokenUsage;
    use llm::outbound::of_stored;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_and_read_again(body in "\\PC{0,40}", chunk in "\\PC{0,9}", input in any::<u64>(), estimated in any::<bool>(), events in any::<bool>()) {
            let usage = TokenUsage { input, output: 7, cached_input: 5, estimated };
            let answer = if events {
                let frames: Vec<_> = of_stored(Bytes::from(body)).collect();
                StoredAnswer::events(&frames, &Bytes::from(chunk), usage)
            } else {
                StoredAnswer::whole(&Bytes::from(body), usage)
            };
            let again = StoredAnswer::decode(&Bytes::from(answer.encode())).unwrap();
            prop_assert_eq!(format!("{answer:?}"), format!("{again:?}"));
        }

        #[test]
        fn junk_is_refused_or_read_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = StoredAnswer::decode(&Bytes::from(bytes));
        }
    }
}
