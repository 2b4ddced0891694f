//! The request to the provider, and the content type of its response.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use llm::openai::request::{Request, ResponseForm};

use super::Call;
use provider::registry::Route;

/// The request to the provider.
pub(super) struct UpstreamRequest {
    pub(super) body: Bytes,
    pub(super) form: ResponseForm,
    /// Usage in the stream was requested by this service, not by the caller.
    pub(super) has_added_usage: bool,
}

/// A response that is not streamed goes to the caller as JSON, whatever content type the provider sent.
pub(super) fn as_json(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

impl UpstreamRequest {
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
