//! What is asked of every target.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;

use crate::{cases::Caching, error::BenchError};

/// The seed of the first of those requests that are each another one; all have as many digits.
pub(crate) const FIRST_SEED: u64 = 100_000_000_000;
/// Where the seed goes, in a body of which each is another one.
const SEED: &str = "SEED";

/// A `POST /v1/chat/completions`, of which only the seed may change from one to the next.
pub(crate) struct ChatRequest {
    headers: HeaderMap,
    /// Before and after the seed; the second part is none where there is none that changes.
    body: (Bytes, Option<Bytes>),
    next_seed: u64,
}

impl ChatRequest {
    /// `first_seed` must be above every seed that the target has been sent.
    pub(crate) fn new(
        key: Option<&str>,
        streamed: bool,
        caching: Caching,
        first_seed: u64,
    ) -> Result<Self, BenchError> {
        let seed = match caching {
            Caching::Bypass => String::new(),
            // Streams have an answer of their own to hit.
            Caching::Hit => format!(r#""seed":{},"#, u8::from(streamed)),
            Caching::Miss => format!(r#""seed":{SEED},"#),
        };
        let stream = if streamed { r#""stream":true,"# } else { "" };
        let body = format!(
            concat!(
                r#"{{"model":"bench-model",{}{}"temperature":0.2,"messages":["#,
                r#"{{"role":"system","content":"You answer briefly and name your sources."}},"#,
                r#"{{"role":"user","content":"Which trees give the most syrup, and when are they tapped?"}}]}}"#
            ),
            stream, seed
        );
        let body = match body.split_once(SEED) {
            Some((before, after)) => (Bytes::from(before.to_owned()), Some(Bytes::from(after.to_owned()))),
            None => (Bytes::from(body), None),
        };
        let mut headers = HeaderMap::from_iter([
            (HOST, HeaderValue::from_static("127.0.0.1")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (http::header::ACCEPT, HeaderValue::from_static("*/*")),
            (http::header::USER_AGENT, HeaderValue::from_static("mapleai-bench")),
        ]);
        if let Some(key) = key {
            let value = HeaderValue::from_str(&format!("Bearer {key}"));
            headers.insert(
                AUTHORIZATION,
                value.map_err(|error| BenchError::Usage(error.to_string()))?,
            );
        }
        Ok(Self {
            headers,
            body,
            next_seed: first_seed,
        })
    }

    pub(crate) fn next(&mut self) -> Request<Full<Bytes>> {
        let (before, after) = &self.body;
        let body = match after {
            None => before.clone(),
            Some(after) => {
                self.next_seed += 1;
                Bytes::from([before, self.next_seed.to_string().as_bytes(), after].concat())
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/v1/chat/completions");
        request.headers_mut().clone_from(&self.headers);
        request
    }
}
