//! A small model that a process beside this one runs, for development: the first run answers without a key to anything.
//!
//! The process tells how it is by a file. While it is ready, calls go to it as to any server that speaks the OpenAI API, at the address
//! and with the key that it told: a server that happens to listen at some port is never asked. Until then the development model
//! answers in its place and says so, since "not yet" is no error.

mod model;
mod state_file;
mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{HeaderValue, header};

use super::{
    Capabilities, Origin, Provider, ProviderError, ProviderReply, ProviderRequest, mock::MockProvider,
    registry::ProviderSetupError, transport,
};
use configuration::ProviderConfig;
pub use model::LocalModel;
pub(super) use model::entry;
pub use status::LocalStatus;
use status::Status;

/// Calls to a [`LocalModel`].
pub(super) struct LocalProvider {
    model: Arc<LocalModel>,
    canned: MockProvider,
    ready_timeout: Duration,
}

impl LocalProvider {
    pub(super) fn new(model: Arc<LocalModel>, config: &ProviderConfig) -> Self {
        Self {
            canned: MockProvider::new(&model.provider, config),
            model,
            ready_timeout: config.ready_timeout,
        }
    }

    async fn answer(&self, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        let deadline = Instant::now() + self.ready_timeout;
        let mut following = self.model.status.subscribe();
        loop {
            let status = following.borrow_and_update().clone();
            let until = match &status {
                Status::Ready(live) => {
                    let body = live.named(&self.model.id, request.body.clone());
                    match live
                        .provider
                        .send(ProviderRequest {
                            body,
                            model: Arc::clone(&live.model),
                            ..request.clone()
                        })
                        .await
                    {
                        Err(error) if transport::is_refused(&error) => {
                            self.model.lose(live);
                            continue;
                        }
                        reply => return reply,
                    }
                }
                Status::Loading | Status::Restarting(_) => deadline,
                // Of one that has not come back by now, later calls expect nothing.
                Status::Lost(since) => deadline.min(*since + self.ready_timeout),
                _ => return self.in_place(&status, request).await,
            };
            match tokio::time::timeout_at(until.into(), following.changed()).await {
                Ok(_) => {}
                Err(_) => return self.in_place(&status, request).await,
            }
        }
    }

    /// The development model's answer, which nobody is to remember: in a moment it is not what the model would say.
    async fn in_place(&self, status: &Status, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        let mut reply = self.canned.canned(request, &status.note(&self.model.shown)).await?;
        let (ProviderReply::Whole { headers, .. } | ProviderReply::Stream { headers, .. }) = &mut reply;
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(reply)
    }
}

impl Provider for LocalProvider {
    fn name(&self) -> &str {
        &self.model.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            origin: Origin::Beside,
            ..Capabilities::OPENAI
        }
    }

    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(self.answer(request))
    }

    /// Address and key come from the state file.
    fn rotate(&self, _: &ProviderConfig) -> Result<(), ProviderSetupError> {
        Ok(())
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>> {
        let status = self.model.status.borrow().clone();
        Box::pin(async move {
            match status {
                Status::Ready(live) => live.provider.list_models().await,
                _ => Ok(Vec::new()),
            }
        })
    }

    fn edition(&self) -> Option<u64> {
        self.model.edition()
    }
}
