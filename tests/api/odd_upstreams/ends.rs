//! Answers that end otherwise than they should, or are none.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CHAT, SOON, World, ask, finish, last_event, repeatable, world};
use crate::support::{Reply, TestApp, accounts::register, upstream::delta};

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
    for body in [
        json!({"data": []}),
        json!({"error": {"message": "no"}}),
        json!({}),
        json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": null}]}),
        json!({"object": "list", "data": [{"embedding": [0.5]}, {"embedding": []}], "usage": {"prompt_tokens": 4}}),
    ] {
        world.app.upstream.reply(json(body));
        world
            .program
            .post("/v1/embeddings", &embed)
            .await
            .openai_error(502, "provider_error");
    }
    let records = world.records(34).await;
    assert_eq!(records.len(), 34);
    for (number, record) in records.into_iter().enumerate() {
        // The last said what it cost all the same.
        let input = if number == 33 { 4 } else { 0 };
        assert_eq!(record, ("failed".to_owned(), input, 0));
    }
}

/// EricLBuehler/mistral.rs #1874, langgenius/dify PR #37236: an error, and a connection that stays open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_ends_an_answer_whose_connection_stays_open() {
    let world = world().await;
    let errors = [
        "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n",
        // Words alone, and the half of a chunk.
        "data: Number of choices must be greater than 0.\n\n",
        "data: {\"choices\":[{\"delta\":{\"con\n\n",
    ];
    // With the mark behind it, and without.
    let marks = ["data: [DONE]\n\n", ": nothing more\n\n"];
    let each = errors.iter().flat_map(|error| marks.map(|mark| (*error, mark)));
    for (number, (error, mark)) in each.enumerate() {
        let reply = Reply::events().text("Two words").chunk(error).chunk(mark).stall();
        let asked = Instant::now();
        let text = world.streamed(&reply, number).await;
        assert!(last_event(&text)["error"]["message"].is_string(), "{text}");
        world.app.upstream.reply(reply);
        let (last, kept) = world.on_the_page().await;
        assert_eq!((&*last, &kept["status"]), ("error", &json!("partial")));
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    for (outcome, ..) in world.records(18).await {
        assert_eq!(outcome, "failed");
    }
}

/// 1jehuang/jcode #1326: a gateway that gives a reason with every chunk. And one of two choices that ends long before the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_goes_on_after_a_finish_reason_is_read_to_its_end() {
    let app = TestApp::start_with(|config| {
        config.providers.get_mut("fake").unwrap().chunk_timeout = Duration::from_millis(700);
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let world = World { app, ada, program };
    let piece = |index: u32, reason: Value| {
        let mut chunk = delta("word ");
        chunk["choices"][0]["index"] = json!(index);
        chunk["choices"][0]["finish_reason"] = reason;
        chunk
    };
    let mut always = Reply::events();
    let mut other = Reply::events().event(&piece(0, Value::Null)).event(&finish());
    for _ in 0..8 {
        let pause = Duration::from_millis(200);
        always = always.event(&piece(0, json!("stop"))).pause(pause);
        other = other.event(&piece(1, Value::Null)).pause(pause);
    }
    for (number, (reply, choices)) in [(always, 1), (other.clone(), 2)].into_iter().enumerate() {
        for mut body in [ask(true), repeatable(true, number)] {
            body["n"] = json!(choices);
            world.app.upstream.reply(reply.clone().done());
            let text = world.program.post(CHAT, &body).await.text();
            assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
            assert!(text.matches("word").count() >= 8, "{text}");
        }
    }
    // The second choice never ends.
    let mut body = ask(true);
    body["n"] = json!(2);
    world.app.upstream.reply(other.ended());
    let text = world.program.post(CHAT, &body).await.text();
    assert_eq!(last_event(&text)["error"]["code"], "provider_error", "{text}");
    let outcomes: Vec<_> = world.records(5).await.into_iter().map(|record| record.0).collect();
    assert_eq!(outcomes, ["completed", "completed", "completed", "completed", "failed"]);
}

/// adolfousier/opencrabs #1499: chunks with an empty finish reason, and no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_finish_reason_finishes_nothing() {
    let world = world().await;
    let mut chunk = delta("The first half of");
    chunk["choices"][0]["finish_reason"] = json!("");
    let reply = Reply::events().event(&chunk).ended();
    let text = world.streamed(&reply, 0).await;
    assert_eq!(last_event(&text)["error"]["code"], "provider_error", "{text}");
    world.app.upstream.reply(reply);
    let (last, kept) = world.on_the_page().await;
    assert_eq!((&*last, &kept["status"]), ("error", &json!("partial")));
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
