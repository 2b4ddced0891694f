//! Asking a provider, and asking once more without what it does not understand.

use http::StatusCode;
use memchr::memmem;

use llm::openai::request::without_added_usage;
use provider::{ProviderError, ProviderReply, ProviderRequest, registry::Upstream};

/// Sends the request. If it carries a wish for usage that the caller knows nothing of, and the upstream refuses it for that (as
/// some servers do: openai/openai-agents-python #442), it is sent once more without, and later ones never carry it.
pub(super) async fn ask(
    upstream: &Upstream,
    request: ProviderRequest,
    has_added_usage: bool,
) -> Result<ProviderReply, ProviderError> {
    if !has_added_usage {
        return upstream.provider.send(request).await;
    }
    let again = request.clone();
    let reply = upstream.provider.send(request).await?;
    if !refuses_usage(&reply) {
        return Ok(reply);
    }
    let body = without_added_usage(&again.body);
    let reply = upstream.provider.send(ProviderRequest { body, ..again }).await?;
    let is_taken = match &reply {
        ProviderReply::Whole { status, .. } => status.is_success(),
        ProviderReply::Events { .. } => true,
    };
    if is_taken && upstream.stop_asking_for_usage() {
        tracing::warn!(
            target: "mapleai::providers",
            provider = upstream.provider.name(),
            "the provider refuses stream_options; its streams are estimated from now on. usage_in_streams = false saves the attempt"
        );
    }
    Ok(reply)
}

fn refuses_usage(reply: &ProviderReply) -> bool {
    const STATUSES: [StatusCode; 2] = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    let ProviderReply::Whole { status, body, .. } = reply else {
        return false;
    };
    STATUSES.contains(status) && memmem::find(body, b"stream_options").is_some()
}
