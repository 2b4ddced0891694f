//! Any server that speaks the OpenAI API: OpenAI itself, vLLM, llama.cpp, Ollama and their like. Bodies pass as they are.

mod models;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Uri, header};

use super::{
    Capabilities, Endpoint, Provider, ProviderError, ProviderReply, ProviderRequest,
    exchange::{Exchanged, VendorFormat, VendorServer, secret},
    frames::as_they_are,
    registry::ProviderSetupError,
};
use configuration::ProviderConfig;
use llm::{outbound::openai::fault, sse};

/// One configured upstream.
pub struct OpenAiProvider {
    server: VendorServer<OpenAiFormat>,
    chat: Uri,
    embeddings: Uri,
    models: Uri,
}

/// See [`VendorFormat`].
enum OpenAiFormat {}

impl VendorFormat for OpenAiFormat {
    /// Keys, organisations and projects. Messages quote them, keys with stars in the middle.
    const ID_PREFIXES: &'static [&'static [u8]] = &[b"sk-", b"org-", b"proj_"];

    fn add_headers(key: Option<&str>, headers: &mut HeaderMap) -> Option<()> {
        if let Some(key) = key {
            headers.insert(header::AUTHORIZATION, secret(&format!("Bearer {key}"))?);
        }
        Some(())
    }

    fn passed_headers() -> &'static [(HeaderName, HeaderName)] {
        static PASSED: [(HeaderName, HeaderName); 3] = [
            // Ours has that name; both are needed when a provider is asked about a call.
            (
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("x-upstream-request-id"),
            ),
            (
                HeaderName::from_static("openai-processing-ms"),
                HeaderName::from_static("openai-processing-ms"),
            ),
            (
                HeaderName::from_static("openai-version"),
                HeaderName::from_static("openai-version"),
            ),
        ];
        &PASSED
    }

    fn refusal(body: &[u8]) -> Bytes {
        fault::refusal(body)
    }

    fn ends_answer(events: &[u8]) -> bool {
        sse::ends_with_mark(events)
    }
}

impl OpenAiProvider {
    pub fn new(name: &str, config: &ProviderConfig) -> Result<Self, ProviderSetupError> {
        let server = VendorServer::new(name, config)?;
        Ok(Self {
            chat: server.uri("/chat/completions")?,
            embeddings: server.uri("/embeddings")?,
            models: server.uri("/models")?,
            server,
        })
    }

    async fn reply(&self, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        let choices = request.choices;
        let uri = match request.endpoint {
            Endpoint::ChatCompletions => &self.chat,
            Endpoint::Embeddings => &self.embeddings,
        };
        match self.server.post(uri, request).await? {
            Exchanged::Whole { headers, body } => Ok(ProviderReply::answer(headers, body)),
            Exchanged::Refused(reply) => Ok(reply),
            Exchanged::Events(headers, events) => Ok(self.server.stream(headers, events, choices, as_they_are)),
        }
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        let body = self.server.list(&self.models).await?;
        models::ids_of(&body).ok_or(ProviderError::BadReply("its list of models is not one"))
    }
}

impl Provider for OpenAiProvider {
    fn name(&self) -> &str {
        self.server.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::OPENAI
    }

    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(self.reply(request))
    }

    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError> {
        self.server.rotate(config)
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>> {
        Box::pin(self.list())
    }
}

#[cfg(test)]
mod tests;
