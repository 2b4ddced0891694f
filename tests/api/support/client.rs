//! An ordinary HTTP client.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::soon;

/// Talks to one server, with one credential or none.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    bearer: Option<String>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_mins(1))
            .build()
            .unwrap();
        Self {
            http,
            base: format!("http://{address}"),
            bearer: None,
        }
    }

    /// The same, with a token.
    pub fn with(&self, bearer: &str) -> Self {
        Self {
            bearer: Some(bearer.to_owned()),
            ..self.clone()
        }
    }

    /// The token that it sends.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// A request to fill in by hand.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub async fn delete_with(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::DELETE, path).json(body)).await
    }

    /// A body as it stands, which says that it is JSON.
    pub async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(
            self.request(Method::POST, path)
                .header("content-type", "application/json")
                .body(body),
        )
        .await
    }

    /// A request whose answer is a stream of events.
    pub async fn stream(&self, path: &str, body: &Value) -> Events {
        let response = soon(
            "the head of a stream",
            self.request(Method::POST, path).json(body).send(),
        )
        .await
        .unwrap();
        Events::of(response).await
    }
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self {
            status,
            headers,
            body: response.bytes().await.unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON body, after a look at the status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// A problem document with this status and code; gives the document.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        body
    }

    /// OpenAI's error envelope with this status and code; gives what is in it.
    #[track_caller]
    pub fn openai_error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(
            error["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{error}"
        );
        error
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }
}

/// An answer that is a stream of events. Dropping it closes the connection.
pub struct Events {
    response: reqwest::Response,
    read: BytesMut,
    /// All that has arrived, byte for byte.
    pub raw: BytesMut,
}

impl Events {
    /// Takes the stream of an answer; fails on any other answer.
    pub async fn of(response: reqwest::Response) -> Self {
        let kind = response
            .headers()
            .get("content-type")
            .map(|value| value.to_str().unwrap().to_owned());
        if response.status() != StatusCode::OK
            || !kind
                .as_deref()
                .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            let answer = Answer::read(response).await;
            panic!("not a stream but {}: {}", answer.status, answer.text());
        }
        Self {
            response,
            read: BytesMut::new(),
            raw: BytesMut::new(),
        }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        soon("an event", async {
            loop {
                if let Some(event) = self.take() {
                    return Some(event);
                }
                let chunk = self.response.chunk().await.expect("the stream must not break off")?;
                self.read.extend_from_slice(&chunk);
                self.raw.extend_from_slice(&chunk);
            }
        })
        .await
    }

    /// Every event that is still to come.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// The next event of this name, past others.
    pub async fn until(&mut self, name: &str) -> Event {
        loop {
            match self.next().await {
                Some(event) if event.name == name => return event,
                Some(_) => {}
                None => panic!("the stream ended without a {name:?} event: {:?}", self.raw),
            }
        }
    }

    fn take(&mut self) -> Option<Event> {
        loop {
            let end = self.read.windows(2).position(|pair| pair == b"\n\n")?;
            let block = self.read.split_to(end + 2);
            let mut event = Event {
                name: String::new(),
                data: String::new(),
            };
            for line in std::str::from_utf8(&block).unwrap().lines() {
                if let Some(name) = line.strip_prefix("event:") {
                    name.trim().clone_into(&mut event.name);
                } else if let Some(data) = line.strip_prefix("data:") {
                    event.data.push_str(data.strip_prefix(' ').unwrap_or(data));
                }
            }
            // Comments keep the connection alive and are no events.
            if !event.name.is_empty() || !event.data.is_empty() {
                return Some(event);
            }
        }
    }
}
