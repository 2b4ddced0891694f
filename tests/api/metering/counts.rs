//! Counts in odd places (azerozero/grob #454, bitrouter #537, earendil-works/pi #2017), and counts that mean something else.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CHAT, ask, record, start};
use crate::support::{
    Reply,
    upstream::{completion, delta},
};

const WORDS: usize = 300;

/// A chunk with a word of eight bytes, and something else in it.
fn word(name: &str, value: Value) -> Value {
    let mut chunk = delta("word123 ");
    chunk[name] = value;
    chunk
}

fn tokens(prompt: impl Into<Value>, completion: impl Into<Value>) -> Value {
    json!({"prompt_tokens": prompt.into(), "completion_tokens": completion.into()})
}

/// Three hundred words, with usage beside each of them.
fn words(usage: impl Fn(usize) -> Value) -> Reply {
    (1..=WORDS).fold(Reply::events(), |reply, at| reply.event(&word("usage", usage(at))))
}

fn plain() -> Reply {
    words(|_| Value::Null)
}

fn last(usage: &Value) -> Value {
    json!({"id": "c", "choices": [], "usage": usage})
}

#[tokio::test]
async fn a_count_is_found_wherever_it_stands_and_believed_as_far_as_it_goes() {
    let (app, program) = start().await;
    let mut within = delta("");
    within["choices"][0]["usage"] = tokens(900, 300);
    let mut beside = delta("");
    beside["usage"] = tokens(900, 300);
    let after_mark = format!("data: [DONE]\n\ndata: {}\n\n", last(&tokens(900, 300)));
    // A prompt of 40 bytes of JSON is estimated as 10 tokens, the answer as 600.
    let prompt = r#"[{"content":"Hi, there!","role":"user"}]"#.len().div_ceil(4);
    let input = i64::try_from(prompt).unwrap();
    let cases = [
        (
            "zeros in each chunk",
            words(|_| tokens(0, 0)).done(),
            (input, 600, true),
        ),
        (
            "no zeros at the end",
            plain().event(&last(&tokens(0, 0))).done(),
            (input, 600, true),
        ),
        ("running counts", words(|at| tokens(900, at)).done(), (900, 300, false)),
        ("in the choice", plain().event(&within).done(), (900, 300, false)),
        ("beside choices", plain().event(&beside).done(), (900, 300, false)),
        ("after the mark", plain().chunk(after_mark).ended(), (900, 300, false)),
        (
            "a little after the mark",
            plain()
                .chunk("data: [DONE]\n\n")
                .pause(Duration::from_millis(5))
                .event(&last(&tokens(900, 300)))
                .ended(),
            (900, 300, false),
        ),
        (
            "nothing after the mark",
            plain().chunk("data: [DONE]\n\n").ended(),
            (input, 600, true),
        ),
        (
            "decimals",
            plain().event(&last(&tokens(900.0, 300.0))).done(),
            (900, 300, false),
        ),
        (
            "texts",
            plain().event(&last(&tokens("900", "300"))).done(),
            (900, 300, false),
        ),
        (
            "smaller at the end",
            words(|at| tokens(900, at)).event(&last(&tokens(900, 1))).done(),
            (900, 300, false),
        ),
        (
            "in the first chunk only",
            Reply::events()
                .event(&word("usage", tokens(900, 0)))
                .text(&"word123 ".repeat(299))
                .done(),
            (900, 600, true),
        ),
    ];
    let mut count = 0;
    for (name, reply, expected) in cases {
        // As it comes, and for others to join.
        for temperature in [1, 0] {
            app.upstream.reply(reply.clone());
            let mut body = ask("Hi, there!", true);
            (body["temperature"], body["x_case"]) = (temperature.into(), name.into());
            let events = program.stream(CHAT, &body).await.rest().await;
            assert!(events.iter().any(|event| event.data == "[DONE]"), "{name}");
            count += 1;
            let found = record(&app, count).await;
            assert_eq!(
                (found.outcome.as_str(), found.tokens()),
                ("completed", expected),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_reader_who_leaves_is_charged_for_what_came() {
    let (app, program) = start().await;
    let first = Reply::events()
        .event(&word("usage", tokens(900, 0)))
        .text(&"word123 ".repeat(299));
    let running = words(|at| tokens(900, at));
    for (number, (reply, output)) in [(first, 600), (running, 300)].into_iter().enumerate() {
        app.upstream.reply(reply.text("the end").stall());
        let mut events = program.stream(CHAT, &ask("Hi", true)).await;
        while !events.next().await.unwrap().data.contains("the end") {}
        drop(events);
        let found = record(&app, number + 1).await;
        assert_eq!((found.outcome.as_str(), found.input), ("cancelled", 900));
        assert_eq!(found.output, output + 2, "and two for what came last");
    }
}

#[tokio::test]
async fn reasoning_is_output_wherever_it_is_counted() {
    let (app, program) = start().await;
    let details = json!({"reasoning_tokens": 500});
    for (number, (said, stream)) in [(10, false), (10, true), (510, false), (510, true)]
        .into_iter()
        .enumerate()
    {
        let usage = json!({"prompt_tokens": 30, "completion_tokens": said, "total_tokens": 540, "completion_tokens_details": details});
        if stream {
            app.upstream
                .reply(Reply::events().text("Ten words.").event(&last(&usage)).done());
            program.stream(CHAT, &ask("Hi", true)).await.rest().await;
        } else {
            let mut whole = completion("Ten words.", None);
            whole["usage"] = usage;
            app.upstream.reply(Reply::json(200, &whole));
            program.post(CHAT, &ask("Hi", false)).await.ok(200);
        }
        assert_eq!(
            record(&app, number + 1).await.tokens(),
            (30, 510, false),
            "{said} {stream}"
        );
    }
}

#[tokio::test]
async fn the_text_so_far_beside_each_piece_of_it_is_not_counted_again() {
    let (app, program) = start().await;
    let said = ["Hello", " world,", " this", " once"];
    let reply = (1..=said.len()).fold(Reply::events(), |reply, at| {
        let mut chunk = delta(said[at - 1]);
        chunk["choices"][0]["message"] = json!({"role": "assistant", "content": said[..at].concat()});
        reply.event(&chunk)
    });
    app.upstream.reply(reply.done());
    program.stream(CHAT, &ask("Hi", true)).await.rest().await;
    let length = i64::try_from(said.concat().len().div_ceil(4)).unwrap();
    assert_eq!(record(&app, 1).await.output, length);
}
