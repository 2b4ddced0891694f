//! Answers in other forms than were asked for.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{CHAT, SOON, ask, finish, last_event, repeatable, world};
use crate::support::{
    Reply,
    upstream::{completion, delta},
};

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

/// A character that was cut in two costs no more than itself, and a byte order mark nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_do_not_cost_the_text_around_them() {
    let world = world().await;
    let whole = completion("a@b", Some((9, 2))).to_string();
    let stream = format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", delta("a@b"), finish());
    for (kind, body) in [("application/json", whole.clone()), ("text/event-stream", stream)] {
        let at = body.find('@').unwrap();
        let bytes = [&body.as_bytes()[..at], b"\xe2\x82", &body.as_bytes()[at + 1..]].concat();
        world
            .app
            .upstream
            .reply(Reply::whole(200, &[("content-type", kind)], bytes));
        let (last, kept) = world.on_the_page().await;
        assert_eq!((&*last, &kept["content"]), ("done", &json!("a\u{fffd}b")), "{kind}");
    }
    let marked = format!("\u{feff}{whole}");
    world
        .app
        .upstream
        .reply(Reply::whole(200, &[("content-type", "application/json")], marked));
    let answer = world.program.post(CHAT, &ask(false)).await.ok(200);
    assert_eq!(answer["usage"]["completion_tokens"], 2);
}

/// FastAPI's, Gemini's, vLLM's: clients show the `message` of an `error` object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_in_any_shape_tell_their_words_where_clients_look() {
    let world = world().await;
    for body in [
        json!({"detail": [{"loc": ["body", "temperature"], "msg": "too high"}]}),
        json!({"object": "error", "message": "too high", "code": 40001}),
        json!([{"error": {"code": 400, "message": "too high", "status": "INVALID_ARGUMENT"}}]),
        json!({"error": "too high"}),
    ] {
        world.app.upstream.reply(Reply::json(400, &body));
        let answer = world.program.post(CHAT, &ask(true)).await;
        let told = answer.ok(400);
        assert!(
            told["error"]["message"].as_str().unwrap().contains("too high"),
            "{told}"
        );
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
    // What is not an answer has its price all the same, where the provider says so.
    world
        .app
        .upstream
        .reply(Reply::events().text("Half").usage(8, 1).ended());
    world
        .program
        .post(CHAT, &ask(false))
        .await
        .openai_error(502, "provider_error");
    // Nothing is waited for behind the mark, nor is a success known by another number.
    let asked = Instant::now();
    let open = Reply::events().text("Put me together").event(&finish());
    world.app.upstream.reply(open.chunk("data: [DONE]\n\n").stall());
    let answer = world.program.post(CHAT, &ask(false)).await.ok(200);
    assert_eq!(answer["choices"][0]["message"]["content"], "Put me together");
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    let created = Reply::json(206, &completion("Put me together", None));
    world.app.upstream.reply(created);
    world.program.post(CHAT, &ask(false)).await.ok(200);
    let records = world.records(5).await;
    assert_eq!((records[2].1, records[2].2), (8, 1));
    assert_eq!(records[0], ("completed".to_owned(), 9, 2));
    assert_eq!(records[1], ("completed".to_owned(), 9, 2));
    assert_eq!(records[2].0, "failed");
}

/// openai/openai-python takes nothing from an answer in the form that was not asked for, and raises nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whole_in_place_of_a_stream_becomes_one() {
    let world = world().await;
    for (number, mut body) in [ask(true), repeatable(true, 0)].into_iter().enumerate() {
        body["stream_options"] = json!({"include_usage": true});
        world
            .app
            .upstream
            .reply(Reply::json(200, &completion("All at once", Some((9, 3)))));
        let answer = world.program.post(CHAT, &body).await;
        assert_eq!(answer.header("content-type"), "text/event-stream", "{number}");
        let text = answer.text();
        assert!(
            text.contains("All at once") && text.ends_with("data: [DONE]\n\n"),
            "{text}"
        );
        assert!(text.contains("\"completion_tokens\":3"), "{text}");
    }
    world
        .app
        .upstream
        .reply(Reply::json(200, &completion("All at once", Some((9, 3)))));
    let (last, kept) = world.on_the_page().await;
    assert_eq!((&*last, &kept["content"]), ("done", &json!("All at once")));
    for record in &world.records(3).await[..2] {
        assert_eq!(*record, ("completed".to_owned(), 9, 3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_order_mark_before_a_stream_stays_here() {
    let world = world().await;
    let reply = Reply::events().chunk("\u{feff}").text("First").done();
    let together = Reply::events()
        .chunk(format!("\u{feff}data: {}\n\n", delta("First")))
        .done();
    for (number, reply) in [together, reply].iter().enumerate() {
        let text = world.streamed(reply, number).await;
        assert!(text.starts_with("data: {"), "{text:?}");
    }
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
