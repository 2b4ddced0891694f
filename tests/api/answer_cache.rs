//! Models' answers are remembered within one organisation, shared while they are made, and never half.

mod shared;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use mapleai::config::AnswerCaching;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::register,
    eventually,
    upstream::{completion, delta},
};

const CHAT: &str = "/v1/chat/completions";

async fn start() -> (TestApp, Client) {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    (app, program)
}

/// A request for a repeatable answer.
fn ask(text: &str) -> Value {
    json!({"model": "maple-chat", "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

fn finish(reason: &str) -> Value {
    let mut chunk = delta("");
    chunk["choices"] = json!([{"index": 0, "delta": {}, "finish_reason": reason}]);
    chunk
}

fn streamed(texts: &[&str]) -> Reply {
    let reply = texts.iter().fold(Reply::events(), |reply, text| reply.text(text));
    reply.event(&finish("stop")).usage(7, 3).done()
}

#[track_caller]
fn cache(answer: &Answer) -> &str {
    answer.header("x-maple-cache")
}

/// The text that a stream's chunks make, and whether a usage chunk came.
fn text_of(events: &str) -> (String, bool) {
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    let chunks: Vec<Value> = events
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    let text = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    (text, chunks.iter().any(|chunk| chunk["usage"].is_object()))
}

#[tokio::test]
async fn a_repeatable_answer_is_given_again_and_costs_nothing() {
    let (app, program) = start().await;
    app.upstream
        .reply(Reply::json(200, &completion("Paris", Some((100, 20)))));
    let first = program.post(CHAT, &ask("Capital?")).await;
    assert_eq!((first.status.as_u16(), cache(&first)), (200, "miss"));
    assert_eq!(first.header("age"), "");
    let second = program.post(CHAT, &ask("Capital?")).await;
    assert_eq!((second.status.as_u16(), cache(&second)), (200, "hit"));
    assert_eq!(
        (second.header("age"), second.header("content-type")),
        ("0", "application/json")
    );
    assert_eq!(first.text(), second.text());
    app.upstream.only_call();

    let rows = eventually("both records", || async {
        let rows = sqlx::query(
            "SELECT cached, outcome, input_tokens, output_tokens, cost_nanodollars, saved_nanodollars
             FROM usage_records ORDER BY created_at, id",
        )
        .fetch_all(&mut app.database().await)
        .await
        .unwrap();
        (rows.len() == 2).then_some(rows)
    })
    .await;
    let figures = |place: usize| -> (bool, &str, [i64; 4]) {
        let row = &rows[place];
        let number = |name| row.get::<i64, _>(name);
        (
            row.get("cached"),
            row.get("outcome"),
            ["input_tokens", "output_tokens", "cost_nanodollars", "saved_nanodollars"].map(number),
        )
    };
    assert_eq!(figures(0), (false, "completed", [100, 20, 450_000, 0]));
    assert_eq!(figures(1), (true, "completed", [100, 20, 0, 450_000]));
}

#[tokio::test]
async fn what_changes_the_answer_is_in_the_key_and_nothing_else() {
    let (app, program) = start().await;
    program.post(CHAT, &ask("Hi")).await.ok(200);
    let same = [
        with(ask("Hi"), "user", "somebody"),
        with(ask("Hi"), "metadata", json!({"a": "b"})),
        with(ask("Hi"), "stream", false),
    ];
    for body in &same {
        assert_eq!(cache(&program.post(CHAT, body).await), "hit", "{body}");
    }
    let reordered = r#"{ "messages" : [{"content":"Hi", "role":"user"}], "temperature" : 0, "model":"maple-chat" }"#;
    let request = program
        .request(Method::POST, CHAT)
        .header("content-type", "application/json");
    assert_eq!(cache(&Answer::of(request.body(reordered)).await), "hit");
    app.upstream.only_call();
    let other = [
        ask("Hi "),
        with(ask("Hi"), "max_tokens", 5),
        with(ask("Hi"), "a_field_of_tomorrow", 1),
        with(ask("Hi"), "seed", 1),
        with(ask("Hi"), "model", "same-name"),
    ];
    for body in &other {
        assert_eq!(cache(&program.post(CHAT, body).await), "miss", "{body}");
    }
    let never = [
        with(ask("Hi"), "temperature", 0.7),
        with(ask("Hi"), "store", true),
        json!({"model": "maple-chat", "messages": []}),
    ];
    for body in &never {
        for _ in 0..2 {
            assert_eq!(cache(&program.post(CHAT, body).await), "bypass", "{body}");
        }
    }
    let embed = json!({"model": "maple-embed", "input": "x"});
    let embedding =
        json!({"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}});
    app.upstream.always(Some(Reply::json(200, &embedding)));
    for wanted in ["miss", "hit"] {
        assert_eq!(cache(&program.post("/v1/embeddings", &embed).await), wanted);
    }
}

#[tokio::test]
async fn a_model_says_which_of_its_answers_are_remembered() {
    let app = TestApp::start_with(|config| {
        config.cache.answers = AnswerCaching::Off;
        config.models[2].cache = Some(AnswerCaching::All);
    })
    .await;
    let program = register(&app).await.program().await;
    let all = json!({"model": "same-name", "messages": [{"role": "user", "content": "warm"}], "temperature": 1});
    for (body, wanted) in [(&ask("x"), ["bypass", "bypass"]), (&all, ["miss", "hit"])] {
        for wanted in wanted {
            assert_eq!(cache(&program.post(CHAT, body).await), wanted, "{body}");
        }
    }
}

#[tokio::test]
async fn another_organisation_and_another_member_of_the_same() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (one, colleague) = (ada.program().await, ada.program().await);
    let stranger = register(&app).await.program().await;
    one.post(CHAT, &ask("Secret?")).await.ok(200);
    assert_eq!(cache(&colleague.post(CHAT, &ask("Secret?")).await), "hit");
    assert_eq!(app.upstream.calls().len(), 1);
    assert_eq!(cache(&stranger.post(CHAT, &ask("Secret?")).await), "miss");
    assert_eq!(app.upstream.calls().len(), 2, "the stranger's own call");
}

#[tokio::test]
async fn one_entry_serves_both_forms() {
    let (app, program) = start().await;
    app.upstream.reply(streamed(&["Hel", "lo"]));
    let stream = with(ask("Hi"), "stream", true);
    let first = program.post(CHAT, &stream).await;
    assert_eq!(
        (cache(&first), text_of(&first.text())),
        ("miss", ("Hello".to_owned(), false))
    );
    let again = program.post(CHAT, &stream).await;
    assert_eq!(
        (cache(&again), text_of(&again.text())),
        ("hit", ("Hello".to_owned(), false))
    );
    assert_eq!(again.header("content-type"), "text/event-stream");
    let with_usage = with(stream.clone(), "stream_options", json!({"include_usage": true}));
    let again = program.post(CHAT, &with_usage).await;
    assert_eq!(
        (cache(&again), text_of(&again.text())),
        ("hit", ("Hello".to_owned(), true))
    );
    let whole = program.post(CHAT, &ask("Hi")).await;
    assert_eq!(cache(&whole), "hit");
    let whole = whole.ok(200);
    assert_eq!(
        whole["choices"][0]["message"],
        json!({"role": "assistant", "content": "Hello"})
    );
    assert_eq!(
        (&whole["object"], &whole["usage"]["prompt_tokens"]),
        (&json!("chat.completion"), &json!(7))
    );
    app.upstream.only_call();

    // And the other way about.
    app.upstream.reply(Reply::json(200, &completion("Bye", Some((5, 1)))));
    program.post(CHAT, &ask("Bye")).await.ok(200);
    let events = program.post(CHAT, &with(ask("Bye"), "stream", true)).await;
    assert_eq!(
        (cache(&events), text_of(&events.text())),
        ("hit", ("Bye".to_owned(), false))
    );
    assert_eq!(app.upstream.calls().len(), 2);
}

#[tokio::test]
async fn only_whole_answers_are_remembered() {
    let (app, program) = start().await;
    let mut filtered = completion("...", None);
    filtered["choices"][0]["finish_reason"] = "content_filter".into();
    let told = Reply::events()
        .text("a")
        .event(&json!({"error": {"message": "overloaded"}}))
        .done();
    let unmarked = Reply::events().text("a").event(&finish("stop")).ended();
    let replies = [
        (false, Reply::json(200, &filtered), 200),
        (false, Reply::json(400, &json!({"error": {"message": "too long"}})), 400),
        (false, Reply::json(500, &json!({})), 502),
        (true, Reply::events().text("a").break_off(), 200),
        (true, told, 200),
        (true, Reply::events().text("no finish reason").done(), 200),
        (true, unmarked, 200),
    ];
    for (number, (stream, reply, status)) in replies.into_iter().enumerate() {
        let body = with(ask(&format!("number {number}")), "stream", stream);
        app.upstream.reply(reply);
        let first = program.post(CHAT, &body).await;
        assert_eq!(first.status.as_u16(), status, "{number}");
        app.upstream.reply(if stream {
            streamed(&["fine"])
        } else {
            Reply::json(200, &completion("fine", None))
        });
        let second = program.post(CHAT, &body).await;
        assert_eq!((second.status.as_u16(), cache(&second)), (200, "miss"), "{number}");
        assert_eq!(cache(&program.post(CHAT, &body).await), "hit", "{number}");
    }
    // An error, and nothing, in place of embeddings.
    for (number, body) in [
        json!({"error": {"message": "overloaded"}}),
        json!({"object": "list"}),
        json!({"data": []}),
    ]
    .into_iter()
    .enumerate()
    {
        let embed = json!({"model": "maple-embed", "input": format!("number {number}")});
        app.upstream.reply(Reply::json(200, &body));
        assert_eq!(cache(&program.post("/v1/embeddings", &embed).await), "miss");
        for wanted in ["miss", "hit"] {
            assert_eq!(cache(&program.post("/v1/embeddings", &embed).await), wanted, "{body}");
        }
    }
    // One of two choices is not the whole answer.
    let two = with(ask("two"), "n", 2);
    for _ in 0..2 {
        app.upstream.reply(Reply::json(200, &completion("one of two", None)));
        assert_eq!(cache(&program.post(CHAT, &two).await), "miss");
    }
}

#[tokio::test]
async fn callers_say_how_fresh_an_answer_must_be() {
    let (app, program) = start().await;
    let asked = async |control: &str| {
        let request = program.request(Method::POST, CHAT).header("cache-control", control);
        let answer = Answer::of(request.json(&ask("When?"))).await;
        answer.header("x-maple-cache").to_owned()
    };
    assert_eq!(asked("no-store").await, "bypass");
    assert_eq!(asked("max-age=60").await, "miss");
    assert_eq!(asked("max-age=60").await, "hit");
    assert_eq!(asked("no-cache").await, "miss");
    assert_eq!(app.upstream.calls().len(), 3);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(asked("max-age=1").await, "miss");
    assert_eq!(asked("").await, "hit");
}

#[tokio::test]
async fn identical_calls_under_way_share_one() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    let whole = Reply::json(200, &completion("Hello", Some((9, 2)))).not_before(&gate);
    app.upstream.reply(whole);
    let question = ask("All at once");
    let callers = (0..50).map(|_| program.post(CHAT, &question));
    let opened = async {
        app.upstream.called(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    let mut statuses: Vec<_> = answers.iter().map(|answer| cache(answer).to_owned()).collect();
    statuses.sort();
    statuses.dedup();
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(statuses, ["coalesced", "miss"]);
    app.upstream.only_call();
    let sums = eventually("a record for each", || async {
        let row = sqlx::query(
            "SELECT count(*) AS records, count(*) FILTER (WHERE cached) AS cached, COALESCE(sum(cost_nanodollars), 0)::bigint AS cost
             FROM usage_records",
        )
        .fetch_one(&mut app.database().await)
        .await
        .unwrap();
        let sums: [i64; 3] = [row.get("records"), row.get("cached"), row.get("cost")];
        (sums[0] == 50).then_some(sums)
    })
    .await;
    assert_eq!(sums, [50, 49, 9 * 2_500 + 2 * 10_000]);
}

/// Opens a stream and waits for the text it begins with.
async fn reading(
    program: &Client,
    body: &Value,
    begins: &str,
) -> (String, impl futures_util::Stream<Item = String> + use<>) {
    let answer = program.request(Method::POST, CHAT).json(body).send().await.unwrap();
    let status = answer.headers()["x-maple-cache"].to_str().unwrap().to_owned();
    let mut pieces = Box::pin(answer.bytes_stream().map(|piece| {
        piece.map_or_else(
            |_| "broken".to_owned(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }));
    let mut seen = String::new();
    while !seen.contains(begins) {
        seen.push_str(&pieces.next().await.unwrap());
    }
    (status, pieces)
}

#[tokio::test]
async fn a_stream_is_joined_in_the_middle_and_outlives_who_began_it() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    let reply = Reply::events()
        .text("first")
        .gate(&gate)
        .text("second")
        .event(&finish("stop"))
        .usage(7, 3)
        .done();
    app.upstream.reply(reply);
    let body = with(ask("Slowly"), "stream", true);
    let (status, leader) = reading(&program, &body, "first").await;
    assert_eq!(status, "miss");
    let (status, joiner) = reading(&program, &body, "first").await;
    assert_eq!(status, "coalesced");
    // Whoever began it goes; the call goes on for the other.
    drop(leader);
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.add_permits(1);
    let rest: String = joiner.collect::<Vec<_>>().await.concat();
    assert!(rest.contains("second") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert!(app.upstream.only_call().hung_up.is_none());
    assert_eq!(cache(&program.post(CHAT, &body).await), "hit");
}

#[tokio::test]
async fn the_call_ends_with_its_last_reader() {
    let (app, program) = start().await;
    app.upstream.reply(Reply::events().text("first").stall());
    let body = with(ask("Never"), "stream", true);
    let (_, leader) = reading(&program, &body, "first").await;
    let (_, joiner) = reading(&program, &body, "first").await;
    drop(leader);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(app.upstream.only_call().hung_up.is_none(), "the other still reads");
    drop(joiner);
    app.upstream.hung_up().await;
}

#[tokio::test]
async fn if_the_first_fails_one_of_the_others_tries_again() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(Reply::default().gate(&gate).break_off());
    app.upstream
        .always(Some(Reply::json(200, &completion("second try", Some((1, 1))))));
    let question = ask("Fail first");
    let callers = (0..10).map(|_| program.post(CHAT, &question));
    let opened = async {
        app.upstream.called(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    let failed = answers.iter().filter(|answer| answer.status == 502).count();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((failed, served), (1, 9), "only who began it is told");
    assert_eq!(app.upstream.calls().len(), 2, "one of the others tried again, for all");
}

#[tokio::test]
async fn callers_of_both_forms_share_a_call() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(
        Reply::events()
            .text("Hel")
            .gate(&gate)
            .text("lo")
            .event(&finish("length"))
            .usage(7, 3)
            .done(),
    );
    let stream = with(ask("Both"), "stream", true);
    let (_, leader) = reading(&program, &stream, "Hel").await;
    let unstreamed = ask("Both");
    let whole = program.post(CHAT, &unstreamed);
    let opened = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.add_permits(1);
        leader.collect::<Vec<_>>().await.concat()
    };
    let (whole, rest) = tokio::join!(whole, opened);
    assert!(rest.contains("lo"), "{rest}");
    assert_eq!(cache(&whole), "coalesced");
    assert_eq!(whole.ok(200)["choices"][0]["message"]["content"], "Hello");
    app.upstream.only_call();
}

#[tokio::test]
async fn on_the_page_regenerate_asks_again_and_asking_does_not() {
    let app = TestApp::start_with(|config| config.models[0].cache = Some(AnswerCaching::All)).await;
    let ada = register(&app).await;
    app.upstream.always(Some(streamed(&["Hel", "lo"])));
    let ask = json!({"content": "What is it?", "model": "maple-chat"});
    let mut asked = Vec::new();
    for _ in 0..2 {
        let conversation = ada.conversation().await;
        let path = format!("/api/conversations/{conversation}/messages");
        let done = ada.client.stream(&path, &ask).await.until("done").await;
        asked.push((conversation, done.json()["message"]["content"].clone()));
    }
    assert_eq!(asked[0].1, "Hello");
    assert_eq!(asked[1].1, "Hello", "from the cache");
    app.upstream.only_call();
    let path = format!("/api/conversations/{}/regenerate", asked[1].0);
    ada.client.stream(&path, &json!({})).await.until("done").await;
    assert_eq!(app.upstream.calls().len(), 2, "whoever asks again wants another answer");
}
