//! An upstream that answers as a test tells it to: HTTP by hand, since tests need it to stall and break off at will.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::eventually;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// When the gateway closed the connection before the reply was complete.
    pub hung_up: Option<Instant>,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A step of a reply.
#[derive(Clone)]
enum Step {
    Head(String),
    /// One chunk of a chunked body.
    Chunk(Bytes),
    /// Bytes as they are.
    Raw(Bytes),
    Pause(Duration),
    /// Until the test opens it.
    Gate(Arc<Semaphore>),
    /// Until the gateway hangs up.
    Stall,
    /// The connection is closed in the middle.
    BreakOff,
}

/// What to answer.
#[derive(Clone, Default)]
pub struct Reply(Vec<Step>);

impl Reply {
    /// A complete body.
    pub fn whole(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        Self(vec![Step::Head(head), Step::Raw(body)])
    }

    /// Takes the request, and says nothing.
    pub fn silent() -> Self {
        Self::default().stall()
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, &[("content-type", "application/json")], body.to_string())
    }

    /// The head of a JSON body of `length` bytes, and only a part of it.
    pub fn promising(length: usize, part: impl Into<Bytes>) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
        Self(vec![Step::Head(head), Step::Raw(part.into())])
    }

    /// The head of a JSON body of unknown length; chunks follow.
    pub fn json_in_pieces() -> Self {
        Self(vec![Step::Head(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n".to_owned(),
        )])
    }

    /// The head of a stream of events; chunks follow.
    pub fn events() -> Self {
        Self(vec![Step::Head(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n".to_owned(),
        )])
    }

    /// The same under another content type, or none.
    pub fn stream_as(content_type: &str) -> Self {
        let named = match content_type {
            "" => String::new(),
            name => format!("content-type: {name}\r\n"),
        };
        Self(vec![Step::Head(format!(
            "HTTP/1.1 200 OK\r\n{named}transfer-encoding: chunked\r\n"
        ))])
    }

    /// These bytes, a head of their own included.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::default().bytes(bytes)
    }

    /// Bytes as they are.
    pub fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Raw(bytes.into()))
    }

    /// Another reply's steps behind these.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Nothing at all, not even a head.
    pub fn silence() -> Self {
        Self(vec![Step::Stall])
    }

    pub fn chunk(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Chunk(bytes.into()))
    }

    /// An event that carries JSON.
    pub fn event(self, data: &Value) -> Self {
        self.chunk(format!("data: {data}\n\n"))
    }

    /// An event with a piece of the answer's text.
    pub fn text(self, text: &str) -> Self {
        self.event(&delta(text))
    }

    pub fn usage(self, input: u64, output: u64) -> Self {
        self.event(&usage_chunk(input, output))
    }

    /// The stream's proper end.
    pub fn done(self) -> Self {
        self.chunk("data: [DONE]\n\n").ended()
    }

    /// The stream's end in order, but without the mark.
    pub fn ended(self) -> Self {
        self.then(Step::Raw(Bytes::from_static(b"0\r\n\r\n")))
    }

    pub fn pause(self, length: Duration) -> Self {
        self.then(Step::Pause(length))
    }

    pub fn gate(self, gate: &Arc<Semaphore>) -> Self {
        self.then(Step::Gate(Arc::clone(gate)))
    }

    /// Nothing of it until the test opens the gate.
    pub fn not_before(mut self, gate: &Arc<Semaphore>) -> Self {
        self.0.insert(0, Step::Gate(Arc::clone(gate)));
        self
    }

    pub fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    pub fn break_off(self) -> Self {
        self.then(Step::BreakOff)
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

/// A piece of an answer as OpenAI sends it.
pub fn delta(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-chat-001",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    })
}

pub fn usage_chunk(input: u64, output: u64) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-chat-001", "choices": [],
        "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
    })
}

/// A whole answer as OpenAI sends it.
pub fn completion(text: &str, usage: Option<(u64, u64)>) -> Value {
    let mut body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-chat-001",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    });
    if let Some((input, output)) = usage {
        body["usage"] = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    }
    body
}

#[derive(Default)]
struct State {
    connections: usize,
    calls: Vec<Call>,
    replies: VecDeque<Reply>,
    /// In place of what it answers without instructions.
    always: Option<Reply>,
}

/// The server. Without instructions it answers any chat, streamed or not, with "Hello there" and 9 and 2 tokens; a request
/// with a `seed` gets that as its number of input tokens, by which its record is known.
pub struct FakeUpstream {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Dropping it ends every connection.
    _alive: watch::Sender<()>,
}

impl FakeUpstream {
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// On a port of the caller's, where nobody was listening until now.
    pub async fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (alive, mut over) = watch::channel(());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    _ = over.changed() => return,
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        shared.lock().unwrap().connections += 1;
                        connections.spawn(serve(stream, Arc::clone(&shared)));
                    }
                }
            }
        });
        Self {
            address,
            state,
            _alive: alive,
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What to answer the next request that has no reply yet.
    pub fn reply(&self, reply: Reply) {
        self.state.lock().unwrap().replies.push_back(reply);
    }

    /// What to answer every request that has no reply of its own; `None` for what it answers of itself.
    pub fn always(&self, reply: Option<Reply>) {
        self.state.lock().unwrap().always = reply;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// The only call there was.
    #[track_caller]
    pub fn only_call(&self) -> Call {
        let calls = self.calls();
        assert_eq!(calls.len(), 1, "calls of the upstream: {calls:?}");
        calls.into_iter().next().unwrap()
    }

    pub async fn called(&self, times: usize) {
        eventually("a call of the upstream", || async {
            (self.calls().len() >= times).then_some(())
        })
        .await;
    }

    /// Waits until the gateway has hung up on the first call; gives when that was.
    pub async fn hung_up(&self) -> Instant {
        eventually("the end of the upstream call", || async {
            self.calls().first().and_then(|call| call.hung_up)
        })
        .await
    }
}

fn next_reply(state: &Mutex<State>, call: &Call) -> Reply {
    {
        let mut state = state.lock().unwrap();
        if let Some(reply) = state.replies.pop_front().or_else(|| state.always.clone()) {
            return reply;
        }
    }
    if call.path.ends_with("/models") {
        return Reply::json(200, &json!({"object": "list", "data": [{"id": "upstream-chat-001"}]}));
    }
    if call.path.ends_with("/embeddings") {
        return Reply::json(
            200,
            &json!({
                "object": "list", "model": "upstream-embed-001", "usage": {"prompt_tokens": 4, "total_tokens": 4},
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
            }),
        );
    }
    let wanted = serde_json::from_slice::<Value>(&call.body).unwrap_or_default();
    let input = wanted["seed"].as_u64().unwrap_or(9);
    if wanted["stream"] == true {
        let reply = Reply::events().text("Hello").text(" there");
        let usage = wanted["stream_options"]["include_usage"] == true;
        (if usage { reply.usage(input, 2) } else { reply }).done()
    } else {
        Reply::json(200, &completion("Hello there", Some((input, 2))))
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    stream.set_nodelay(true).unwrap();
    let mut read = BytesMut::new();
    while let Some(call) = read_call(&mut stream, &mut read).await {
        let reply = next_reply(&state, &call);
        let index = {
            let mut state = state.lock().unwrap();
            state.calls.push(call);
            state.calls.len() - 1
        };
        let (mut receiving, mut sending) = stream.split();
        let mut probe = [0_u8; 1];
        let over = tokio::select! {
            intact = play(&reply, &mut sending) => !intact,
            // The gateway sends nothing more on this connection until the reply is complete.
            _ = receiving.read(&mut probe) => {
                state.lock().unwrap().calls[index].hung_up = Some(Instant::now());
                true
            }
        };
        if over {
            return;
        }
    }
}

/// Sends the reply; false if the connection is to be closed.
async fn play(reply: &Reply, sending: &mut (impl AsyncWriteExt + Unpin)) -> bool {
    for step in &reply.0 {
        let bytes = match step {
            Step::Head(head) => Bytes::from(format!("{head}\r\n")),
            Step::Chunk(bytes) => {
                let mut framed = BytesMut::from(format!("{:x}\r\n", bytes.len()).as_bytes());
                framed.extend_from_slice(bytes);
                framed.extend_from_slice(b"\r\n");
                framed.freeze()
            }
            Step::Raw(bytes) => bytes.clone(),
            Step::Pause(length) => {
                tokio::time::sleep(*length).await;
                continue;
            }
            Step::Gate(gate) => {
                gate.acquire().await.unwrap().forget();
                continue;
            }
            Step::Stall => return std::future::pending().await,
            Step::BreakOff => return false,
        };
        if sending.write_all(&bytes).await.is_err() {
            // The reader beside this notices as well, and notes the time.
            return std::future::pending().await;
        }
    }
    true
}

async fn read_call(stream: &mut TcpStream, read: &mut BytesMut) -> Option<Call> {
    let head_end = loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read.split_to(head_end).to_vec()).unwrap();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    while read.len() < length {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    Some(Call {
        path,
        headers,
        body: read.split_to(length).freeze(),
        hung_up: None,
    })
}
