//! Model servers and proxies that do what the API's document does not say: what a program, a person and the ledger get.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{Person, register},
    eventually,
    upstream::{completion, delta},
};

const CHAT: &str = "/v1/chat/completions";
/// Far below every limit of the tests' provider.
const SOON: Duration = Duration::from_secs(4);

struct World {
    app: TestApp,
    ada: Person,
    program: Client,
}

async fn world() -> World {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    World { app, ada, program }
}

fn ask(stream: bool) -> Value {
    json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
}

/// The same, so that its answer may be remembered and shared.
fn repeatable(stream: bool, number: usize) -> Value {
    let mut body = ask(stream);
    body["temperature"] = json!(0);
    body["messages"][0]["content"] = json!(format!("number {number}"));
    body
}

fn finish() -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

impl World {
    /// Outcomes and counts of all records, in order of their making, once there are so many.
    async fn records(&self, count: usize) -> Vec<(String, i64, i64)> {
        eventually("the records", || async {
            let records: Vec<(String, i64, i64)> = sqlx::query_as(
                "SELECT outcome, input_tokens, output_tokens FROM usage_records ORDER BY created_at, id",
            )
            .fetch_all(&mut self.app.database().await)
            .await
            .unwrap();
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// Asks on the page. The last event's name, and the stored answer.
    async fn on_the_page(&self) -> (String, Value) {
        let conversation = self.ada.conversation().await;
        let path = format!("/api/conversations/{conversation}");
        let mut events = self
            .ada
            .client
            .stream(&format!("{path}/messages"), &json!({"content": "Hi"}))
            .await;
        let last = events.rest().await.pop().unwrap();
        let kept = self.ada.client.get(&path).await.ok(200)["messages"][1].clone();
        (last.name, kept)
    }

    /// As a stream, with and without its answer being kept for others: both must tell the same.
    async fn streamed(&self, reply: &Reply, number: usize) -> String {
        let mut texts = Vec::new();
        for body in [ask(true), repeatable(true, number)] {
            self.app.upstream.reply(reply.clone());
            let answer = self.program.post(CHAT, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            texts.push(answer.text());
        }
        assert_eq!(texts[0], texts[1], "with the cache as without");
        texts.remove(0)
    }
}

fn last_event(text: &str) -> Value {
    let data = text.trim_end().rsplit("data: ").next().unwrap();
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// NVIDIA/TensorRT-LLM #18289: a worker that is killed, or a proxy that is restarted, ends its stream in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_in_order_but_early_is_broken_off() {
    let world = world().await;
    let half = format!("data: {}\n\n", delta("The first half of"));
    let head = "content-type: text/event-stream\r\n";
    let replies = [
        Reply::events().text("The first half of").ended(),
        Reply::whole(200, &[("content-type", "text/event-stream")], half.clone()),
        Reply::raw(format!("HTTP/1.0 200 OK\r\n{head}\r\n{half}")).break_off(),
    ];
    for (number, reply) in replies.iter().enumerate() {
        let text = world.streamed(reply, number).await;
        assert!(text.starts_with(&half) && !text.contains("[DONE]"), "{text}");
        assert_eq!(last_event(&text)["error"]["code"], "provider_error", "{text}");
        world.app.upstream.reply(reply.clone());
        let (last, kept) = world.on_the_page().await;
        assert_eq!(
            (&*last, &kept["status"], &kept["content"]),
            ("error", &json!("partial"), &json!("The first half of"))
        );
    }
    for (outcome, _, output) in world.records(9).await {
        assert_eq!((&*outcome, output > 0), ("failed", true));
    }
    // Either of the two is enough, and common alone.
    for reply in [
        Reply::events().text("All of it").done(),
        Reply::events().text("All of it").event(&finish()).ended(),
    ] {
        world.app.upstream.reply(reply);
        let (last, kept) = world.on_the_page().await;
        assert_eq!((&*last, &kept["status"]), ("done", &json!("complete")));
    }
}

/// maximhq/bifrost #5963, GoModel #947: a failure with the status of a success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_without_an_answer_is_a_failure() {
    let world = world().await;
    let json = |body: Value| Reply::json(200, &body);
    let replies = [
        json(json!({"error": {"message": "no capacity", "code": 502}})),
        json(json!({"id": "x", "object": "chat.completion", "choices": []})),
        json(json!({})),
        Reply::whole(200, &[("content-type", "application/json")], ""),
        Reply::whole(
            200,
            &[("content-type", "text/html")],
            "<html><body>Welcome</body></html>",
        ),
    ];
    for (number, reply) in replies.iter().enumerate() {
        for body in [
            ask(true),
            ask(false),
            repeatable(true, number),
            repeatable(false, number),
        ] {
            world.app.upstream.reply(reply.clone());
            world
                .program
                .post(CHAT, &body)
                .await
                .openai_error(502, "provider_error");
        }
        world.app.upstream.reply(reply.clone());
        let (last, kept) = world.on_the_page().await;
        assert_eq!(
            (&*last, &kept["status"], &kept["content"]),
            ("error", &json!("failed"), &json!(""))
        );
    }
    // Streams without one.
    for (number, reply) in [Reply::events().ended(), Reply::events().done()].iter().enumerate() {
        let text = world.streamed(reply, 100 + number).await;
        assert_eq!(last_event(&text)["error"]["code"], "provider_error", "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
    }
    let embed = json!({"model": "maple-embed", "input": "x"});
    for body in [json!({"data": []}), json!({"error": {"message": "no"}}), json!({})] {
        world.app.upstream.reply(json(body));
        world
            .program
            .post("/v1/embeddings", &embed)
            .await
            .openai_error(502, "provider_error");
    }
    let records = world.records(32).await;
    assert_eq!(records.len(), 32);
    for record in records {
        assert_eq!(record, ("failed".to_owned(), 0, 0), "nothing is charged");
    }
}

/// ramalama #2837, vllm-project/vllm-ascend #5033: events as JSON, plain text, bytes, or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_under_another_content_type_is_passed_on_as_it_comes_and_metered() {
    let world = world().await;
    for (number, content_type) in ["application/json", "text/plain", "application/octet-stream", ""]
        .into_iter()
        .enumerate()
    {
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let reply = Reply::stream_as(content_type)
            .text("Hello")
            .gate(&gate)
            .text(" there")
            .event(&finish());
        world.app.upstream.reply(reply.usage(9, 2).done());
        let mut events = world.program.stream(CHAT, &repeatable(true, number)).await;
        assert_eq!(events.next().await.unwrap().json(), delta("Hello"));
        gate.add_permits(1);
        assert_eq!(events.rest().await.last().unwrap().data, "[DONE]");
        world.app.upstream.reply(
            Reply::stream_as(content_type)
                .text("Hello")
                .event(&finish())
                .usage(9, 2)
                .done(),
        );
        let (last, kept) = world.on_the_page().await;
        assert_eq!((&*last, &kept["content"]), ("done", &json!("Hello")));
    }
    for record in world.records(8).await {
        assert_eq!(record, ("completed".to_owned(), 9, 2));
    }
}

/// openai/openai-python #3520: some proxies never close after the mark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_ends_an_answer_whose_connection_stays_open() {
    let world = world().await;
    let reply = Reply::events()
        .text("All said")
        .event(&finish())
        .usage(9, 2)
        .chunk("data: [DONE]\n\n")
        .stall();
    let asked = Instant::now();
    let text = world.streamed(&reply, 0).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    world.app.upstream.reply(reply);
    let (last, kept) = world.on_the_page().await;
    assert_eq!((&*last, &kept["status"]), ("done", &json!("complete")));
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    for record in world.records(3).await {
        assert_eq!(record, ("completed".to_owned(), 9, 2));
    }
}

/// openai/openai-agents-python #442: 400 or 422 for a field that the caller never sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_refuses_to_tell_usage_is_asked_without() {
    let world = world().await;
    let refusal = || {
        Reply::json(
            422,
            &json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}),
        )
    };
    let has_options = |index: usize| world.app.upstream.calls()[index].json()["stream_options"].is_object();
    // A caller who sent it is told.
    let mut own = ask(true);
    own["stream_options"] = json!({"include_usage": true});
    world.app.upstream.reply(refusal());
    assert_eq!(world.program.post(CHAT, &own).await.status, 422);
    assert_eq!(world.app.upstream.calls().len(), 1);
    // A refusal for another reason is passed on as it is.
    world
        .app
        .upstream
        .reply(Reply::json(422, &json!({"error": {"message": "no"}})));
    assert_eq!(world.program.post(CHAT, &ask(true)).await.status, 422);
    assert_eq!(world.app.upstream.calls().len(), 2);

    world.app.upstream.reply(refusal());
    let text = world.program.post(CHAT, &repeatable(true, 0)).await.text();
    assert!(text.contains(" there") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!((has_options(2), has_options(3)), (true, false));
    let (last, _) = world.on_the_page().await;
    assert_eq!(last, "done");
    assert!(!has_options(4), "it is known by now");
    assert_eq!(world.app.upstream.calls().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_not_asked_for_usage_where_the_provider_is_set_so() {
    let app = TestApp::start_with(|config| config.providers.get_mut("fake").unwrap().usage_in_streams = false).await;
    let program = register(&app).await.program().await;
    let text = program.post(CHAT, &ask(true)).await.text();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(app.upstream.only_call().json()["stream_options"], Value::Null);
    let mut own = ask(true);
    own["stream_options"] = json!({"include_usage": true});
    program.post(CHAT, &own).await;
    assert!(
        app.upstream.calls()[1].json()["stream_options"].is_object(),
        "what callers ask is theirs"
    );
}

/// Errors in events: vllm-project/guidellm #743, stacklok/toolhive #6037 and others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_within_a_stream_is_one_in_every_shape_and_names_nothing_of_ours() {
    let world = world().await;
    let shapes = [
        "event: error\ndata: {\"message\":\"out of memory for sk-upstream-secret\",\"code\":500}\n\n",
        "{\"error\":{\"message\":\"out of memory for sk-proj-ABCDEF12\"}}\n\n",
        "data: {\"error\":{\"message\":\"out of memory in org-ABCDEFGH\"}}\n\n",
        "data: {\"detail\":\"out of memory\"}\n\n",
        "data: Internal Server Error\n\n",
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let reply = Reply::events().text("Two words").chunk(shape).ended();
        let text = world.streamed(&reply, number).await;
        let told = last_event(&text);
        assert!(told["error"]["message"].is_string(), "{text}");
        if number < 3 {
            assert!(text.contains("out of memory") && text.contains("[redacted]"), "{text}");
        }
        for secret in ["sk-upstream", "sk-proj", "org-"] {
            assert!(!text.contains(secret), "{text}");
        }
        world.app.upstream.reply(reply);
        let (last, kept) = world.on_the_page().await;
        assert_eq!((&*last, &kept["status"]), ("error", &json!("partial")));
    }
    for (outcome, ..) in world.records(15).await {
        assert_eq!(outcome, "failed");
    }
}

/// new-api #5230: asked whole, answered as a stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_asked_for_is_put_together() {
    let world = world().await;
    for body in [ask(false), repeatable(false, 0)] {
        let reply = Reply::events()
            .text("Put me ")
            .text("together")
            .event(&finish())
            .usage(9, 2);
        world.app.upstream.reply(reply.done());
        let answer = world.program.post(CHAT, &body).await;
        assert_eq!(answer.header("content-type"), "application/json");
        let answer = answer.ok(200);
        assert_eq!(answer["choices"][0]["message"]["content"], "Put me together");
        assert_eq!(answer["usage"]["completion_tokens"], 2);
    }
    world.app.upstream.reply(Reply::events().text("Half").ended());
    world
        .program
        .post(CHAT, &ask(false))
        .await
        .openai_error(502, "provider_error");
    let records = world.records(3).await;
    assert_eq!(records[0], ("completed".to_owned(), 9, 2));
    assert_eq!(records[1], ("completed".to_owned(), 9, 2));
    assert_eq!(records[2].0, "failed");
}

/// songquanpeng/one-api #277: one line end between events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_one_line_end_parts_reach_program_and_page() {
    let world = world().await;
    let lines = || {
        let words = (0..4).fold(Reply::events(), |reply, number| {
            reply
                .chunk(format!("data: {}\n", delta(&format!("w{number} "))))
                .pause(Duration::from_millis(20))
        });
        words.chunk(format!("data: {}\ndata: [DONE]\n", finish())).ended()
    };
    let text = world.streamed(&lines(), 0).await;
    assert_eq!(text.matches("\n\n").count(), 6, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    world.app.upstream.reply(lines());
    let (last, kept) = world.on_the_page().await;
    assert_eq!((&*last, &kept["content"]), ("done", &json!("w0 w1 w2 w3 ")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_busy_tells_the_caller_when_to_come_back() {
    let world = world().await;
    for status in [503, 529] {
        let told = Reply::whole(status, &[("retry-after", "20")], "{\"error\":{\"message\":\"ours\"}}");
        world.app.upstream.always(Some(told));
        let answers: Vec<Answer> =
            join_all([ask(false), ask(true)].map(async |body| world.program.post(CHAT, &body).await)).await;
        for answer in answers {
            answer.openai_error(503, "provider_busy");
            assert_eq!(answer.header("retry-after"), "20");
            assert!(!answer.text().contains("ours"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_may_think_longer_than_a_pause_once_it_has_greeted() {
    let app = TestApp::start_with(|config| {
        let fake = config.providers.get_mut("fake").unwrap();
        fake.first_byte_timeout = Duration::from_millis(400);
        fake.chunk_timeout = Duration::from_millis(200);
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let world = World { app, ada, program };
    let mut role = delta("");
    role["choices"][0]["delta"]["role"] = json!("assistant");
    let thought = Duration::from_millis(900);
    let replies = [
        Reply::events().event(&role).pause(thought).text("Thought"),
        Reply::events().chunk(": processing\n\n").pause(thought).text("Thought"),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let text = world.streamed(&reply.clone().done(), number).await;
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        world.app.upstream.reply(reply.done());
        assert_eq!(world.on_the_page().await.0, "done");
    }
    // Nor is there a first byte to wait for where the answer is not streamed.
    let body = completion("Thought", None).to_string();
    let late = Reply::promising(body.len(), "").pause(thought).bytes(body.clone());
    for reply in [
        late,
        Reply::default()
            .pause(thought)
            .and(Reply::json(200, &completion("Thought", None))),
    ] {
        world.app.upstream.reply(reply);
        world.program.post(CHAT, &ask(false)).await.ok(200);
    }
    // After its first text it is to go on.
    world.app.upstream.reply(Reply::events().text("Thought").stall());
    let text = world.program.post(CHAT, &ask(true)).await.text();
    assert_eq!(last_event(&text)["error"]["code"], "provider_timeout", "{text}");
}
