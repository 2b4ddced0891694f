//! A provider, and what is known of it beside its configuration.

use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use super::OpenCalls;
use crate::{Capabilities, Provider, ProviderError, ProviderReply, ProviderRequest, health_window::HealthWindow};
use configuration::ProviderConfig;
use llm::{inbound::openai::without_added_usage, outbound::openai::said};

/// A provider and how its calls have gone lately.
pub struct Upstream {
    pub provider: Box<dyn Provider>,
    pub health_window: HealthWindow,
    pub capabilities: Capabilities,
    /// Streams report their usage where they are asked to.
    reports_usage: AtomicBool,
    /// Tells servers apart that have, or had, the same name in the configuration.
    pub(super) address: Box<str>,
    /// Of a server that runs on this machine, which what is done in the background would slow down.
    pub open_calls: Option<OpenCalls>,
}

impl Upstream {
    /// Of a provider with this configuration. `runs_here` says that it is a server on this machine.
    pub(super) fn new(provider: Box<dyn Provider>, config: &ProviderConfig, runs_here: bool) -> Self {
        let capabilities = provider.capabilities();
        Self {
            provider,
            health_window: HealthWindow::default(),
            capabilities,
            reports_usage: AtomicBool::new(config.usage_in_streams && capabilities.usage_in_streams),
            address: config.base_url.as_ref().map_or("mock", |url| url.as_str()).into(),
            open_calls: runs_here.then(OpenCalls::default),
        }
    }

    /// Whether a stream is to be asked for its usage where the caller has not asked.
    pub fn reports_usage_in_streams(&self) -> bool {
        self.reports_usage.load(Ordering::Relaxed)
    }

    /// Sends a call. If it carries a wish for usage that the caller knows nothing of, and the provider refuses it for that (as some servers do:
    /// openai/openai-agents-python #442), it is sent once more without, and later ones never carry it.
    pub async fn send(&self, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        if !request.has_added_usage {
            return self.provider.send(request).await;
        }
        let again = request.clone();
        let reply = self.provider.send(request).await?;
        if !refuses_usage(&reply) {
            return Ok(reply);
        }
        let reply = self.provider.send(without_usage(again)).await?;
        let is_taken = match &reply {
            ProviderReply::Whole { status, .. } => status.is_success(),
            ProviderReply::Stream { .. } => true,
        };
        if is_taken && self.reports_usage.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                target: "mapleai::providers",
                provider = self.provider.name(),
                "the provider refuses stream_options; its streams are estimated from now on. usage_in_streams = false saves the attempt"
            );
        }
        Ok(reply)
    }
}

fn refuses_usage(reply: &ProviderReply) -> bool {
    const STATUSES: [StatusCode; 2] = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    let ProviderReply::Whole { status, body, .. } = reply else {
        return false;
    };
    STATUSES.contains(status) && said::objects_to_usage(body)
}

fn without_usage(request: ProviderRequest) -> ProviderRequest {
    ProviderRequest {
        body: without_added_usage(&request.body),
        has_added_usage: false,
        ..request
    }
}
