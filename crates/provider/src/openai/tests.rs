//! Against real sockets: what passes, what each limit catches, and that leaving ends the call.

mod connections;
mod exchange;
mod limits;
mod streams;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::OpenAiProvider;
use crate::{EventStream, Provider, ProviderError, ProviderReply, ProviderRequest, exchange::Exchanged};
use configuration::{ProviderConfig, ProviderKind};
use llm::Endpoint;

/// What a test takes for "never".
const LONG: Duration = Duration::from_secs(8);
/// A limit that is meant to run out.
const SHORT: Duration = Duration::from_millis(300);
/// How soon an upstream must learn that nobody listens.
const SOON: Duration = Duration::from_secs(1);

const HELLO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn config(base: &str) -> ProviderConfig {
    ProviderConfig {
        base_url: Some(base.parse().unwrap()),
        api_key: Some("sk-upstream".into()),
        headers: BTreeMap::from([("x-team".to_owned(), "maple".into())]),
        connect_timeout: LONG,
        first_byte_timeout: LONG,
        first_content_timeout: LONG,
        chunk_timeout: LONG,
        whole_timeout: LONG,
        total_timeout: LONG,
        ..ProviderConfig::new(ProviderKind::Openai)
    }
}

fn provider(address: SocketAddr) -> OpenAiProvider {
    limited(address, |_| {})
}

fn limited(address: SocketAddr, set: impl FnOnce(&mut ProviderConfig)) -> OpenAiProvider {
    let mut config = config(&format!("http://{address}/v1/"));
    set(&mut config);
    OpenAiProvider::new("test", &config).unwrap()
}

fn asked(stream: bool) -> ProviderRequest {
    ProviderRequest {
        stream,
        ..ProviderRequest::whole(
            Endpoint::ChatCompletions,
            "m".into(),
            Bytes::from_static(br#"{"model":"m", "x_unknown" : [1,  2]}"#),
        )
    }
}

/// Within half of [`LONG`], so that a limit that was taken for another one is noticed.
async fn reply(provider: &OpenAiProvider, stream: bool) -> Result<ProviderReply, ProviderError> {
    timeout(LONG / 2, provider.send(asked(stream)))
        .await
        .expect("an answer in time")
}

async fn whole(provider: &OpenAiProvider, stream: bool) -> (StatusCode, HeaderMap, Bytes) {
    match reply(provider, stream).await {
        Ok(ProviderReply::Whole { status, headers, body }) => (status, headers, body),
        Ok(ProviderReply::Stream { .. }) => panic!("a stream"),
        Err(error) => panic!("{error:?}"),
    }
}

async fn failure(provider: &OpenAiProvider, stream: bool) -> ProviderError {
    match reply(provider, stream).await {
        Ok(_) => panic!("an answer"),
        Err(error) => error,
    }
}

async fn events(provider: &OpenAiProvider) -> EventStream {
    let exchanging = timeout(LONG / 2, provider.server.post(&provider.chat, asked(true)));
    match exchanging.await.expect("an answer in time") {
        Ok(Exchanged::Events(_, events)) => events,
        Ok(_) => panic!("whole"),
        Err(error) => panic!("{error:?}"),
    }
}

async fn next(events: &mut EventStream) -> Option<Result<Bytes, ProviderError>> {
    timeout(LONG / 2, events.next()).await.expect("an item in time")
}
