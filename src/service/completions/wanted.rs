//! What a provider is sent, and under which content type an answer goes back.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::{
    Call,
    request::{Form, Request},
};
use crate::provider::registry::Route;

/// What is wanted of a provider.
pub(super) struct Wanted {
    pub(super) body: Bytes,
    pub(super) form: Form,
    /// The caller said nothing of usage in the stream; we did.
    pub(super) has_added_usage: bool,
}

/// A whole answer is JSON to its caller, whatever it was to us.
pub(super) fn as_json(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

impl Wanted {
    pub(super) fn of(call: &Call, request: &Request<'_>, route: &Route) -> Self {
        let form = request.form(call.endpoint);
        let adds_usage = form.streamed && !form.include_usage && route.upstream.asks_for_usage();
        Self {
            body: request.for_upstream(&call.body, &route.model.upstream, adds_usage),
            form,
            has_added_usage: adds_usage && request.raw_stream_options.is_none(),
        }
    }
}
