//! Every call leaves one record, whatever became of it.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row;

use crate::support::{
    Client, Reply, TestApp,
    accounts::{Person, register},
    eventually,
    upstream::completion,
};

/// A stored record, as far as tests look at it.
#[derive(Debug, PartialEq)]
struct Record {
    model: String,
    kind: String,
    outcome: String,
    streamed: bool,
    input: i64,
    output: i64,
    estimated: bool,
    cost: i64,
    has_first_token: bool,
}

impl Record {
    fn chat(outcome: &str, streamed: bool, (input, output): (i64, i64)) -> Self {
        Self {
            model: "maple-chat".to_owned(),
            kind: "chat".to_owned(),
            outcome: outcome.to_owned(),
            streamed,
            input,
            output,
            estimated: false,
            // 2.50 and 10.00 dollars per million, in billionths.
            cost: input * 2_500 + output * 10_000,
            has_first_token: true,
        }
    }
}

/// Waits for `count` records and gives them, oldest first.
async fn records(app: &TestApp, count: usize) -> Vec<Record> {
    let rows = eventually("the usage records", || async {
        let mut database = app.database().await;
        let rows = sqlx::query(
            "SELECT model, kind, outcome, streamed, input_tokens, output_tokens, estimated, cost_nanodollars,
                 first_token_us, latency_us, provider
             FROM usage_records ORDER BY created_at, id",
        )
        .fetch_all(&mut database)
        .await
        .unwrap();
        (rows.len() >= count).then_some(rows)
    })
    .await;
    assert_eq!(rows.len(), count, "one record for each call");
    rows.iter()
        .map(|row| {
            let (latency, first): (i64, Option<i64>) = (row.get("latency_us"), row.get("first_token_us"));
            assert!(
                latency > 0 && first.is_none_or(|first| (0..=latency).contains(&first)),
                "{latency} {first:?}"
            );
            assert_eq!(row.get::<&str, _>("provider"), "fake");
            Record {
                model: row.get("model"),
                kind: row.get("kind"),
                outcome: row.get("outcome"),
                streamed: row.get("streamed"),
                input: row.get("input_tokens"),
                output: row.get("output_tokens"),
                estimated: row.get("estimated"),
                cost: row.get("cost_nanodollars"),
                has_first_token: first.is_some(),
            }
        })
        .collect()
}

fn ask(stream: bool) -> Value {
    json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
}

async fn start() -> (TestApp, Person, Client) {
    let app = TestApp::start_with(|config| {
        let fake = config.providers.get_mut("fake").unwrap();
        fake.first_byte_timeout = Duration::from_millis(400);
        fake.whole_timeout = Duration::from_millis(400);
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    (app, ada, program)
}

#[tokio::test]
async fn the_upstreams_own_counts_are_billed() {
    let (app, _, program) = start().await;
    app.upstream
        .reply(Reply::json(200, &completion("Hello", Some((1_234, 56)))));
    program.post("/v1/chat/completions", &ask(false)).await.ok(200);
    assert_eq!(records(&app, 1).await[0], Record::chat("completed", false, (1_234, 56)));

    app.upstream
        .reply(Reply::events().text("Hel").text("lo").usage(7, 3).done());
    program.stream("/v1/chat/completions", &ask(true)).await.rest().await;
    assert_eq!(records(&app, 2).await[1], Record::chat("completed", true, (7, 3)));

    program
        .post("/v1/embeddings", &json!({"model": "maple-embed", "input": "x"}))
        .await
        .ok(200);
    let embedding = &records(&app, 3).await[2];
    assert_eq!(
        (embedding.kind.as_str(), embedding.input, embedding.cost),
        ("embedding", 4, 400)
    );
}

#[tokio::test]
async fn counts_are_estimated_and_marked_where_the_upstream_sends_none() {
    let (app, _, program) = start().await;
    let text = "word ".repeat(80);
    app.upstream.reply(Reply::json(200, &completion(&text, None)));
    program.post("/v1/chat/completions", &ask(false)).await.ok(200);
    app.upstream.reply(Reply::events().text(&text).done());
    program.stream("/v1/chat/completions", &ask(true)).await.rest().await;
    for (record, streamed) in records(&app, 2).await.iter().zip([false, true]) {
        assert_eq!(
            (record.outcome.as_str(), record.estimated, record.streamed),
            ("completed", true, streamed)
        );
        // 400 bytes of English: some 80 to 130 tokens by any tokenizer.
        assert!(
            (60..=200).contains(&record.output) && (1..=40).contains(&record.input),
            "{record:?}"
        );
        assert_eq!(record.cost, record.input * 2_500 + record.output * 10_000);
    }
}

#[tokio::test]
async fn a_call_that_its_client_leaves_is_recorded_with_what_went_by() {
    let (app, _, program) = start().await;
    app.upstream.reply(Reply::events().text(&"word ".repeat(80)).stall());
    let mut events = program.stream("/v1/chat/completions", &ask(true)).await;
    events.next().await.unwrap();
    drop(events);
    let record = &records(&app, 1).await[0];
    assert_eq!(
        (record.outcome.as_str(), record.estimated, record.has_first_token),
        ("cancelled", true, true)
    );
    assert!(
        (60..=200).contains(&record.output) && record.input > 0 && record.cost > 0,
        "{record:?}"
    );
}

#[tokio::test]
async fn a_call_left_before_its_first_token_is_recorded() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    app.upstream.reply(Reply::silence());
    let asking = tokio::spawn(
        program
            .request(http::Method::POST, "/v1/chat/completions")
            .json(&ask(false))
            .send(),
    );
    app.upstream.called(1).await;
    asking.abort();
    let record = &records(&app, 1).await[0];
    assert_eq!(
        (record.outcome.as_str(), record.output, record.has_first_token),
        ("cancelled", 0, false)
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_on_the_last_event_has_a_finished_answer() {
    let (app, _, program) = start().await;
    app.upstream.reply(
        Reply::events()
            .text("Hello")
            .usage(7, 1)
            .chunk("data: [DONE]\n\n")
            .stall(),
    );
    let mut events = program.stream("/v1/chat/completions", &ask(true)).await;
    while events.next().await.unwrap().data != "[DONE]" {}
    drop(events);
    assert_eq!(records(&app, 1).await[0], Record::chat("completed", true, (7, 1)));
}

#[tokio::test]
async fn failures_are_recorded_by_their_kind_and_cost_what_they_brought() {
    let (app, _, program) = start().await;
    app.upstream.reply(Reply::json(500, &json!({})));
    program
        .post("/v1/chat/completions", &ask(false))
        .await
        .openai_error(502, "provider_error");
    app.upstream
        .reply(Reply::json(400, &json!({"error": {"message": "too long"}})));
    program.post("/v1/chat/completions", &ask(false)).await.ok(400);
    app.upstream.reply(Reply::silence());
    program
        .post("/v1/chat/completions", &ask(true))
        .await
        .openai_error(504, "provider_timeout");
    app.upstream
        .reply(Reply::events().text(&"word ".repeat(80)).break_off());
    program.stream("/v1/chat/completions", &ask(true)).await.rest().await;

    let records = records(&app, 4).await;
    let outcomes: Vec<&str> = records.iter().map(|record| record.outcome.as_str()).collect();
    assert_eq!(outcomes, ["failed", "refused", "timed_out", "failed"]);
    assert!(
        records[..3].iter().all(|record| record.cost == 0 && record.input == 0),
        "{records:?}"
    );
    assert!(records[3].estimated && records[3].output >= 60, "{records:?}");
}

#[tokio::test]
async fn what_was_refused_at_the_door_leaves_no_record() {
    let (app, _, program) = start().await;
    program
        .post("/v1/chat/completions", &json!({"model": "gpt-99", "messages": []}))
        .await
        .ok(404);
    program
        .post("/v1/chat/completions", &json!({"model": "maple-chat"}))
        .await
        .ok(400);
    program.post("/v1/chat/completions", &ask(false)).await.ok(200);
    assert_eq!(records(&app, 1).await[0].outcome, "completed");
}

#[tokio::test]
async fn the_report_sums_by_day_model_and_key() {
    let (app, ada, first) = start().await;
    let (second_id, second) = ada.create_key().await;
    let second = app.client.with(&second);
    for (client, times) in [(&first, 2), (&second, 1), (&ada.client, 1)] {
        for _ in 0..times {
            app.upstream
                .reply(Reply::json(200, &completion("Hello", Some((100, 10)))));
            client.post("/v1/chat/completions", &ask(false)).await.ok(200);
        }
    }
    second
        .post("/v1/embeddings", &json!({"model": "maple-embed", "input": "x"}))
        .await
        .ok(200);
    app.upstream.reply(Reply::json(200, &completion("Hello", None)));
    second
        .post("/v1/chat/completions", &json!({"model": "same-name", "messages": []}))
        .await
        .ok(200);
    records(&app, 6).await;

    let report = ada.client.get("/api/usage").await.ok(200);
    let row = |rows: &Value, key: &str, value: Value| -> Value {
        let rows = rows.as_array().unwrap();
        rows.iter()
            .find(|row| row[key] == value)
            .unwrap_or_else(|| panic!("no {key} {value} in {rows:?}"))
            .clone()
    };
    let chat = row(&report["by_model"], "model", "maple-chat".into());
    let expected = json!({
        "model": "maple-chat", "requests": 4, "input_tokens": 400, "output_tokens": 40, "cached_input_tokens": 0, "cost_usd": "0.0014",
        "estimated_requests": 0, "cached_requests": 0, "saved_usd": "0.00",
    });
    assert_eq!(chat, expected);
    let embed = row(&report["by_model"], "model", "maple-embed".into());
    assert_eq!(
        (&embed["input_tokens"], &embed["cost_usd"]),
        (&json!(4), &json!("0.0000004"))
    );
    let free = row(&report["by_model"], "model", "same-name".into());
    assert_eq!(
        (&free["cost_usd"], &free["estimated_requests"]),
        (&json!("0.00"), &json!(1))
    );

    assert_eq!(report["totals"]["requests"], 6);
    assert_eq!(report["totals"]["cost_usd"], "0.0014004");
    assert_eq!(report["totals"]["estimated_requests"], 1);
    let by_second = row(&report["by_key"], "key_id", second_id.into());
    assert_eq!(
        (&by_second["requests"], &by_second["key_name"]),
        (&json!(3), &json!("a program"))
    );
    let on_the_page = row(&report["by_key"], "key_id", Value::Null);
    assert_eq!(
        (&on_the_page["requests"], &on_the_page["key_name"]),
        (&json!(1), &Value::Null)
    );

    let days = report["by_day"].as_array().unwrap();
    assert!(days.len() <= 2, "only midnight can split it: {days:?}");
    assert_eq!(days.iter().map(|day| day["requests"].as_u64().unwrap()).sum::<u64>(), 6);
}

#[tokio::test]
async fn the_report_covers_the_days_asked_for() {
    let (app, ada, program) = start().await;
    program.post("/v1/chat/completions", &ask(false)).await.ok(200);
    records(&app, 1).await;
    let mut database = app.database().await;
    // Another, of long ago.
    sqlx::query(
        "INSERT INTO usage_records (id, organization_id, user_id, model, provider, kind, outcome, streamed, input_tokens,
             output_tokens, estimated, cost_nanodollars, latency_us, created_at)
         SELECT gen_random_uuid(), organization_id, user_id, model, provider, kind, outcome, streamed, input_tokens,
             output_tokens, estimated, cost_nanodollars, latency_us, '2024-02-29T23:59:59.999999Z' FROM usage_records",
    )
    .execute(&mut database)
    .await
    .unwrap();
    for (query, requests) in [
        ("?from=2024-02-29&to=2024-02-29", 1),
        ("?from=2024-02-01&to=2024-02-28", 0),
        ("?from=2024-03-01&to=2024-03-01", 0),
        ("?to=2024-03-10", 1),
        ("", 1),
    ] {
        let report = ada.client.get(&format!("/api/usage{query}")).await.ok(200);
        assert_eq!(report["totals"]["requests"], requests, "{query}: {report}");
    }
    let report = ada.client.get("/api/usage?from=2024-02-29&to=2024-03-01").await.ok(200);
    assert_eq!(
        (&report["from"], &report["to"]),
        (&json!("2024-02-29"), &json!("2024-03-01"))
    );
    assert_eq!(report["by_day"][0]["day"], "2024-02-29");
    for bad in [
        "from=2024-03-02&to=2024-03-01",
        "from=2020-01-01&to=2024-01-01",
        "from=yesterday",
        "form=2024-01-01",
        "from=-0001-01-01",
    ] {
        ada.client
            .get(&format!("/api/usage?{bad}"))
            .await
            .problem(422, "invalid_fields");
    }
}
