//! A made-up vendor with an API of its own, without embeddings and a list of models, as a vendor's folder has it. It is asked `{"model", "prompt": [{"from", "says"}], "max_words", "live"}`
//! and answers `{"says", "why", "cost": {"in", "out"}}`, live in events of which the last has `why`; or there is a `fault`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Uri};
use serde_json::{Value, json};

use crate::{
    Capabilities, Origin, Provider, ProviderError, ProviderReply, ProviderRequest,
    exchange::{Exchanged, VendorFormat, VendorServer, secret},
    registry::ProviderSetupError,
};
use configuration::ProviderConfig;
use llm::{inbound::openai::BadRequest, sse};

pub(super) struct AcmeProvider {
    server: VendorServer<AcmeFormat>,
    talk: Uri,
}

enum AcmeFormat {}

impl VendorFormat for AcmeFormat {
    const ID_PREFIXES: &'static [&'static [u8]] = &[b"firm_"];

    fn add_headers(key: Option<&str>, headers: &mut HeaderMap) -> Option<()> {
        headers.insert("acme-key", secret(key?)?);
        Some(())
    }

    fn passed_headers() -> &'static [(HeaderName, HeaderName)] {
        static PASSED: [(HeaderName, HeaderName); 1] = [(
            HeaderName::from_static("acme-talk"),
            HeaderName::from_static("x-upstream-request-id"),
        )];
        &PASSED
    }

    fn refusal(body: &[u8]) -> Bytes {
        error_of(&serde_json::from_slice(body).unwrap_or_default()).into()
    }

    fn ends_answer(events: &[u8]) -> bool {
        let last = sse::events(events).last();
        last.is_some_and(|last| last.data().starts_with(b"{\"why\""))
    }
}

impl AcmeProvider {
    pub(super) fn new(name: &str, config: &ProviderConfig) -> Result<Self, ProviderSetupError> {
        let server = VendorServer::new(name, config)?;
        let talk = server.uri("/talk")?;
        Ok(Self { server, talk })
    }

    async fn reply(&self, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        let body = match body_of(&request) {
            Ok(body) => body,
            Err(refused) => return Ok(refused.into()),
        };
        let request = ProviderRequest { body, ..request };
        match self.server.post(&self.talk, request).await? {
            Exchanged::Whole { headers, body } => Ok(ProviderReply::answer(headers, completion(&body)?)),
            Exchanged::Refused(reply) => Ok(reply),
            Exchanged::Events(headers, events) => {
                Ok(self.server.stream(headers, events, 1, |events| converted(&events)))
            }
        }
    }
}

impl Provider for AcmeProvider {
    fn name(&self) -> &str {
        self.server.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            embeddings: false,
            model_list: false,
            usage_in_streams: false,
            origin: Origin::Server,
        }
    }

    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(self.reply(request))
    }

    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError> {
        self.server.rotate(config)
    }
}

fn body_of(request: &ProviderRequest) -> Result<Bytes, BadRequest> {
    let members = request.members()?;
    let mut prompt = Vec::new();
    for message in members.messages()? {
        prompt.push(json!({"from": message.role, "says": message.text()?}));
    }
    let max: Option<u32> = members.get("max_tokens")?;
    let body = json!({"model": &*request.model, "prompt": prompt, "max_words": max, "live": request.stream});
    Ok(body.to_string().into())
}

fn completion(body: &[u8]) -> Result<Bytes, ProviderError> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let nothing = || ProviderError::BadReply("it says nothing");
    let says = said["says"].as_str().ok_or_else(nothing)?;
    let (reason, usage) = end_of(&said);
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": says}, "finish_reason": reason});
    let whole = json!({"object": "chat.completion", "choices": [choice], "usage": usage});
    Ok(whole.to_string().into())
}

fn converted(events: &[u8]) -> Bytes {
    let mut converted = String::new();
    for event in sse::events(events) {
        match serde_json::from_slice::<Value>(event.data()) {
            Ok(said) => converted.push_str(&chunks(&said)),
            // A comment, or words that are an error in OpenAI's streams as well.
            Err(_) => converted.push_str(&String::from_utf8_lossy(&events[event.range()])),
        }
    }
    converted.into()
}

fn chunks(said: &Value) -> String {
    let chunk = |delta: Value, reason| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    if !said["fault"].is_null() {
        return format!("data: {}\n\n", error_of(said));
    }
    if said["says"].is_string() {
        return format!("data: {}\n\n", chunk(json!({"content": said["says"]}), None));
    }
    let (reason, usage) = end_of(said);
    let (finish, counts) = (chunk(json!({}), Some(reason)), json!({"choices": [], "usage": usage}));
    format!("data: {finish}\n\ndata: {counts}\n\ndata: [DONE]\n\n")
}

fn end_of(said: &Value) -> (&'static str, Value) {
    let usage = json!({"prompt_tokens": said["cost"]["in"], "completion_tokens": said["cost"]["out"]});
    (if said["why"] == "full" { "length" } else { "stop" }, usage)
}

fn error_of(said: &Value) -> String {
    json!({"error": {"message": said["fault"]["text"], "code": said["fault"]["number"]}}).to_string()
}
