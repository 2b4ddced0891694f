//! Asking a model for a title, and storing what it says.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};

use super::{Untitled, wording};
use llm::Endpoint;
use provider::{ProviderError, ProviderReply, ProviderRequest};
use store::StoreError;

/// Why the first words stay.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untold {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the model answered with status {0}")]
    Status(StatusCode),
    #[error("the model answered with a stream, a stand-in, or something that is no title")]
    NoTitle,
    #[error("the model had no title within {0:?}")]
    Slow(Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Untitled {
    /// Dropping the future ends the call at once.
    pub(super) async fn ask(&self) -> Result<String, Untold> {
        let model = Arc::clone(&self.route.model.upstream);
        let request = ProviderRequest::whole(Endpoint::ChatCompletions, model, self.body.clone());
        match self.route.upstream.provider.send(request).await? {
            ProviderReply::Whole { status, headers, body } if status.is_success() => {
                let title = (!stands_in(&headers)).then(|| wording::title_of(&body)).flatten();
                title.ok_or(Untold::NoTitle)
            }
            ProviderReply::Whole { status, .. } => Err(Untold::Status(status)),
            ProviderReply::Stream { .. } => Err(Untold::NoTitle),
        }
    }

    pub(super) async fn is_automatic(&self) -> Result<bool, Untold> {
        let conversations = &self.titles.0.conversations;
        let title = conversations
            .title(self.organization, self.user, self.conversation)
            .await?;
        Ok(title.as_deref() == Some(self.automatic.as_str()))
    }

    /// Whether the conversation still had its first words for a title.
    pub(super) async fn store(&self, title: &str) -> Result<bool, Untold> {
        let conversations = &self.titles.0.conversations;
        let stored = conversations.retitle(self.organization, self.user, self.conversation, &self.automatic, title);
        Ok(stored.await?)
    }
}

/// Made up by this service while the model is not ready.
fn stands_in(headers: &HeaderMap) -> bool {
    headers
        .get(header::CACHE_CONTROL)
        .is_some_and(|value| value.as_bytes() == b"no-store")
}
