//! What is remembered of an answer: all of it or nothing, for both forms.

use serde_json::json;
use sqlx::Row;

use super::{CHAT, ask, cache, finish, start, streamed, text_of, with};
use crate::support::{Reply, eventually, upstream::completion};

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
        program
            .post("/v1/embeddings", &embed)
            .await
            .openai_error(502, "provider_error");
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
async fn an_empty_answer_is_not_remembered() {
    let (app, program) = start().await;
    let nothing = [
        (false, Reply::json(200, &completion("", Some((5, 0))))),
        (false, Reply::json(200, &completion(" \n", Some((5, 1))))),
        (true, Reply::events().text("").event(&finish("stop")).done()),
        (true, Reply::events().event(&finish("stop")).usage(5, 0).done()),
    ];
    for (number, (stream, reply)) in nothing.into_iter().enumerate() {
        let body = with(ask(&format!("empty {number}")), "stream", stream);
        app.upstream.reply(reply);
        assert_eq!(cache(&program.post(CHAT, &body).await), "miss");
        let again = program.post(CHAT, &body).await;
        assert_eq!(cache(&again), "miss", "{number}");
        assert!(again.text().contains("Hello"), "{}", again.text());
    }
    // A call of a tool says something, without a word.
    let mut call = completion("", Some((5, 1)));
    call["choices"][0]["finish_reason"] = "tool_calls".into();
    call["choices"][0]["message"]["tool_calls"] =
        json!([{"id": "c", "type": "function", "function": {"name": "now", "arguments": ""}}]);
    app.upstream.reply(Reply::json(200, &call));
    for wanted in ["miss", "hit"] {
        assert_eq!(cache(&program.post(CHAT, &ask("tool")).await), wanted);
    }
}

#[tokio::test]
async fn calls_of_tools_are_given_whole_as_they_were_meant_or_asked_for_again() {
    let (app, program) = start().await;
    let pieces = |lists: &[serde_json::Value]| {
        let reply = lists.iter().fold(Reply::events(), |reply, list| {
            reply.event(
                &json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": list}, "finish_reason": null}]}),
            )
        });
        reply.event(&finish("tool_calls")).usage(7, 3).done()
    };
    let clear = [
        json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get", "arguments": ""}}]),
        json!([{"index": 0, "id": "", "function": {"name": "", "arguments": "{\"a\":"}}]),
        json!([{"index": 0, "id": null, "function": {"name": null, "arguments": "1}"}}]),
    ];
    app.upstream.reply(pieces(&clear));
    let stream = with(ask("clear"), "stream", true);
    assert_eq!(cache(&program.post(CHAT, &stream).await), "miss");
    let whole = program.post(CHAT, &ask("clear")).await;
    assert_eq!(cache(&whole), "hit");
    assert_eq!(
        whole.ok(200)["choices"][0]["message"]["tool_calls"],
        json!([{"id": "call_1", "type": "function", "function": {"name": "get", "arguments": "{\"a\":1}"}}])
    );
    let unclear = [
        json!([{"function": {"name": "get", "arguments": "{}"}}]),
        json!([{"function": {"name": "put", "arguments": "{}"}}]),
    ];
    app.upstream.reply(pieces(&unclear));
    let stream = with(ask("unclear"), "stream", true);
    assert_eq!(cache(&program.post(CHAT, &stream).await), "miss");
    assert_eq!(cache(&program.post(CHAT, &stream).await), "hit", "as it came");
    let whole = program.post(CHAT, &ask("unclear")).await;
    assert_eq!(cache(&whole), "miss", "asked for again");
    assert_eq!(whole.ok(200)["choices"][0]["message"]["content"], "Hello there");
}

#[tokio::test]
async fn a_record_of_an_answer_that_was_given_again_has_the_tokens_of_the_first() {
    let (app, program) = start().await;
    app.upstream
        .reply(Reply::json(200, &completion("Nobody has counted this.", None)));
    for status in ["miss", "hit"] {
        assert_eq!(cache(&program.post(CHAT, &ask("How many?")).await), status);
    }
    let tokens = eventually("both records", || async {
        let rows = sqlx::query("SELECT input_tokens, output_tokens, estimated FROM usage_records")
            .fetch_all(&mut app.database().await)
            .await
            .unwrap();
        let tokens = rows
            .iter()
            .map(|row| (row.get::<i64, _>(0), row.get::<i64, _>(1), row.get::<bool, _>(2)));
        (rows.len() == 2).then(|| tokens.collect::<Vec<_>>())
    })
    .await;
    assert!(tokens[0].1 > 0 && tokens[0].2, "{tokens:?}");
    assert_eq!(tokens[0], tokens[1]);
}
