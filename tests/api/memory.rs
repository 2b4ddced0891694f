//! Memory: what large bodies and answers may take of it, in the real process.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Semaphore, task::JoinSet};

use crate::support::{
    Client, FakeUpstream, Reply,
    accounts::{Person, fresh_email, registration},
    database::TestDatabase,
    eventually,
    served::Process,
};

const MIB: u64 = 1 << 20;
const CHAT: &str = "/v1/chat/completions";
const OPS_TOKEN: &str = "operations-token-of-these-tests-0123456789";
const MAX_MEMORY: u64 = 512 * MIB;

struct World {
    process: Process,
    upstream: FakeUpstream,
    _folder: tempfile::TempDir,
    _database: TestDatabase,
}

impl World {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create().await;
        let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        let mut variables = vec![
            ("MAPLE__SERVER__MAX_CONNECTIONS", "1000"),
            ("MAPLE__SERVER__MAX_CONNECTIONS_PER_ADDRESS", "1000"),
        ];
        variables.extend(more);
        Self {
            process: Process::start(folder.path(), &database.url, &upstream, &variables),
            upstream,
            _folder: folder,
            _database: database,
        }
    }

    async fn program(&self) -> Client {
        let made = self
            .process
            .client
            .post("/api/auth/register", &registration(&fresh_email()))
            .await;
        Person::of(&self.process.client, &made.ok(201)).program().await
    }

    /// The value of a metric without labels.
    async fn metric(&self, name: &str) -> f64 {
        let metrics = self.process.client.get("/metrics").await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    }

    async fn nothing_is_counted(&self) {
        eventually("all of it to be given back", || async {
            (self.metric("maple_memory_reserved_bytes").await == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_of_four_megabytes_stay_within_bounds_and_leave_room_for_others() {
    let world = World::start().await;
    let (flooding, other) = (world.program().await, world.program().await);
    let gate = Arc::new(Semaphore::new(0));
    let answer = Reply::json(
        200,
        &json!({"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}),
    );
    world.upstream.always(Some(answer.clone().not_before(&gate)));
    let text = "x".repeat(4_100_000);
    let body = Bytes::from(json!({"model": "maple-chat", "messages": [{"role": "user", "content": text}]}).to_string());
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let (client, body) = (flooding.clone(), body.clone());
        calls.spawn(async move { client.post_raw(CHAT, body).await });
    }
    // All but those that there is room for hear so, soon.
    let mut refused = 0;
    while refused < 150 {
        let answer = calls.join_next().await.unwrap().unwrap();
        answer.openai_error(503, "overloaded");
        assert!(!answer.header("retry-after").is_empty());
        refused += 1;
    }
    // Another organisation's large call goes through meanwhile.
    let asking = other.post_raw(CHAT, body.clone());
    let through = async {
        eventually("the other's call to be let in", || async {
            let calls = world.upstream.calls();
            let key = format!("{}", calls.len());
            (!key.is_empty() && calls.len() >= 2).then_some(())
        })
        .await;
        gate.add_permits(1_000);
    };
    let (answer, ()) = tokio::join!(asking, through);
    answer.ok(200);
    let mut served = 0;
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        served += usize::from(answer.status == 200);
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.text());
    }
    assert!(served >= 10, "{served} were served");
    let most = world.process.peak_memory();
    assert!(most < MAX_MEMORY, "{} MiB", most / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_answers_of_thirty_megabytes_stay_within_bounds() {
    let world = World::start().await;
    let program = world.program().await;
    let gate = Arc::new(Semaphore::new(0));
    // Without a length at first: each grows, and none is whole before the gate opens.
    let part = Bytes::from("x".repeat(1 << 20));
    let mut reply = Reply::json_in_pieces().chunk(Bytes::from_static(b"{\"choices\":[{\"message\":{\"content\":\""));
    for _ in 0..30 {
        reply = reply.chunk(part.clone());
    }
    let reply = reply
        .gate(&gate)
        .chunk(Bytes::from_static(b"\"},\"finish_reason\":\"stop\"}]}"))
        .ended();
    world.upstream.always(Some(reply));
    let mut calls = JoinSet::new();
    for number in 0..32 {
        let client = program.clone();
        calls.spawn(async move {
            let body = json!({"model": "maple-chat", "messages": [{"role": "user", "content": number.to_string()}]});
            client.post(CHAT, &body).await
        });
    }
    let mut refused = 0;
    while refused < 20 {
        let answer = calls.join_next().await.unwrap().unwrap();
        answer.openai_error(503, "overloaded");
        refused += 1;
    }
    gate.add_permits(1_000);
    let mut served = 0;
    while let Some(answer) = calls.join_next().await {
        served += usize::from(answer.unwrap().status == 200);
    }
    assert!(served >= 4, "{served} were served");
    let most = world.process.peak_memory();
    assert!(most < MAX_MEMORY, "{} MiB", most / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_are_counted_before_they_are_held() {
    let world = World::start().await;
    let program = world.program().await;
    let key = program.bearer().unwrap().to_owned();
    let address = world.process.address;
    let mut held = JoinSet::new();
    for _ in 0..100 {
        let key = key.clone();
        held.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!(
                "POST {CHAT} HTTP/1.1\r\nhost: maple.test\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
                 content-length: 4000000\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let part = vec![b' '; 64 * 1024];
            let sending = async {
                for _ in 0..61 {
                    stream.write_all(&part).await?;
                }
                Ok::<_, std::io::Error>(())
            };
            // What there is no room for is read all the same, and held by nobody.
            let _ = tokio::time::timeout(Duration::from_secs(10), sending).await;
            stream
        });
    }
    let held = held.join_all().await;
    assert_eq!(held.len(), 100);
    let question = json!({"model": "maple-chat", "messages": []});
    program.post(CHAT, &question).await.ok(200);
    let most = world.process.peak_memory();
    assert!(most < MAX_MEMORY, "{} MiB", most / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_streams_of_one_event_without_an_end_stay_within_bounds_and_leave_room_for_others() {
    let world = World::with(&[
        ("MAPLE__ADMISSION__MEMORY_BYTES", "67108864"),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN),
    ])
    .await;
    let (flooding, other) = (world.program().await, world.program().await);
    let gate = Arc::new(Semaphore::new(0));
    let part = Bytes::from("x".repeat(1 << 20));
    let beginning = Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    let mut reply = Reply::events().text("Hi").chunk(beginning);
    for _ in 0..30 {
        reply = reply.chunk(part.clone());
    }
    let end = Bytes::from_static(b"\"},\"finish_reason\":\"stop\"}]}\n\n");
    world.upstream.always(Some(reply.gate(&gate).chunk(end).done()));
    let before = world.process.peak_memory();
    let mut calls = JoinSet::new();
    for number in 0..32 {
        let client = flooding.clone();
        calls.spawn(async move {
            let messages = json!([{"role": "user", "content": number.to_string()}]);
            // One half could be joined by others, the other could not.
            let body = json!({
                "model": "maple-chat", "stream": true, "messages": messages, "temperature": number % 2
            });
            client.post(CHAT, &body).await.text()
        });
    }
    // One has room for its event, most likely; two have not.
    for _ in 0..31 {
        let text = calls.join_next().await.unwrap().unwrap();
        assert!(
            text.len() < 1024 && text.contains("\"overloaded\""),
            "{} bytes",
            text.len()
        );
    }
    let most = world.process.peak_memory() - before;
    assert!(most < 160 * MIB, "{} MiB more than before", most / MIB);
    // Nothing of it speaks against the provider.
    let health = world.process.client.with(OPS_TOKEN).get("/api/health").await.json();
    let provider = &health["checks"]["external_services"]["components"]["fake"]["detail"];
    assert!(
        provider.as_str().unwrap().starts_with("no calls in the last 30 s"),
        "{provider}"
    );
    // Another organisation's large event passes meanwhile, and so does the flooding one's when it is alone.
    let short = Reply::events()
        .text(&"x".repeat(1 << 20))
        .event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
    world.upstream.reply(short.done());
    let question = json!({"model": "maple-chat", "stream": true, "temperature": 1, "messages": []});
    let text = other.post(CHAT, &question).await.text();
    assert!(text.len() > 1 << 20 && text.ends_with("data: [DONE]\n\n"));
    gate.add_permits(1_000);
    calls.join_next().await.unwrap().unwrap();
    let text = flooding.post(CHAT, &question).await.text();
    assert!(text.len() > 30 << 20 && text.ends_with("data: [DONE]\n\n"));
    world.nothing_is_counted().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_calls_hold_for_those_who_may_join_is_counted_and_given_back() {
    let world = World::with(&[
        ("MAPLE__ADMISSION__MEMORY_BYTES", "4194304"),
        ("MAPLE__CACHE__ANSWER_MAX_BYTES", "1048576"),
    ])
    .await;
    let program = world.program().await;
    let gate = Arc::new(Semaphore::new(0));
    let mut reply = Reply::events();
    for _ in 0..30 {
        reply = reply.text(&"x".repeat(32 * 1024)).pause(Duration::from_millis(1));
    }
    world.upstream.always(Some(reply.gate(&gate).done()));
    let mut calls = JoinSet::new();
    for number in 0..10 {
        let client = program.clone();
        calls.spawn(async move {
            let messages = json!([{"role": "user", "content": number.to_string()}]);
            let body = json!({"model": "maple-chat", "stream": true, "messages": messages, "temperature": 0});
            client.stream(CHAT, &body).await.rest().await
        });
    }
    // Three megabytes are one organisation's: not a megabyte each.
    let mut refused = 0;
    while refused < 6 {
        let events = calls.join_next().await.unwrap().unwrap();
        assert_eq!(events.last().unwrap().json()["error"]["code"], "overloaded");
        refused += 1;
    }
    gate.add_permits(1_000);
    let mut served = 0;
    while let Some(events) = calls.join_next().await {
        served += usize::from(events.unwrap().last().unwrap().data == "[DONE]");
    }
    assert!(served >= 1, "{served} were served");
    world.nothing_is_counted().await;
}
