//! Why there is no more text is told, while one reads and after a reload.

use serde_json::{Value, json};

use super::{ask_path, messages, start};
use crate::support::{
    Reply, TestApp,
    accounts::{Browser, Person},
    upstream::delta,
};

/// A chunk whose first choice is `choice`.
fn chunk(choice: &Value) -> Value {
    let mut chunk = delta("");
    chunk["choices"][0] = choice.clone();
    chunk
}

/// Asks, and gives the last event.
async fn ask(app: &TestApp, ada: &Person, conversation: &str, reply: Reply) -> Value {
    app.upstream.reply(reply);
    let body = json!({"content": "Tell me", "render": true});
    let events = ada.client.stream(&ask_path(conversation), &body).await.rest().await;
    let last = events.last().unwrap();
    assert!(["done", "error"].contains(&last.name.as_str()), "{events:?}");
    last.json()
}

#[tokio::test]
async fn a_reader_is_told_why_there_is_no_more_text() {
    let (app, ada) = start().await;
    let finish = |reason: &str| chunk(&json!({"index": 0, "delta": {}, "finish_reason": reason}));
    let say = |delta: Value| chunk(&json!({"index": 0, "delta": delta, "finish_reason": null}));
    for (reply, reason, status, content) in [
        (
            Reply::events().text("Cut").event(&finish("length")),
            "length",
            "complete",
            "Cut",
        ),
        (
            Reply::events()
                .event(&say(json!({"reasoning_content": "Hm"})))
                .event(&finish("length")),
            "length",
            "failed",
            "",
        ),
        (
            Reply::events().text("This was").event(&finish("content_filter")),
            "content_filter",
            "complete",
            "This was",
        ),
        (
            Reply::events()
                .event(&say(json!({"refusal": "I cannot help."})))
                .event(&finish("stop")),
            "refusal",
            "complete",
            "I cannot help.",
        ),
        (
            Reply::events()
                .event(&say(
                    json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
                ))
                .event(&finish("tool_calls")),
            "tool_calls",
            "failed",
            "",
        ),
    ] {
        let conversation = ada.conversation().await;
        let last = ask(&app, &ada, &conversation, reply.done()).await;
        let kept = messages(&ada.client, &conversation).await.remove(1);
        for told in [&last, &last["message"], &kept] {
            assert_eq!(told["reason"], reason, "{told}");
            assert!(
                told["detail"].as_str().is_some_and(|detail| detail.ends_with('.')),
                "{told}"
            );
        }
        assert_eq!((&kept["status"], &kept["content"]), (&json!(status), &json!(content)));
    }
}

#[tokio::test]
async fn a_failure_is_told_after_a_reload_as_well() {
    let (app, ada) = start().await;
    let too_many = json!({"error": {"message": "slow down"}});
    let conversation = ada.conversation().await;
    let headers = [("content-type", "application/json"), ("retry-after", "7")];
    let reply = Reply::whole(429, &headers, too_many.to_string());
    let last = ask(&app, &ada, &conversation, reply).await;
    let kept = messages(&ada.client, &conversation).await.remove(1);
    for told in [&last, &last["message"], &kept] {
        assert_eq!(
            (&told["reason"], &told["retry_after"]),
            (&json!("rate_limited"), &json!(7)),
            "{told}"
        );
    }
    assert_eq!(last["code"], "rate_limited");
    assert_eq!(
        (&last["message"]["status"], &kept["status"]),
        (&json!("failed"), &json!("failed"))
    );
    // One that ended by itself has nothing to tell.
    let conversation = ada.conversation().await;
    let last = ask(&app, &ada, &conversation, Reply::events().text("Well").done()).await;
    assert_eq!(
        (&last["reason"], &last["message"]["detail"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_conversation_that_is_too_long_for_its_model_is_shortened_or_told_so() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    for _ in 0..3 {
        ask(&app, &ada, &conversation, Reply::events().text("An answer").done()).await;
    }
    let too_long = || {
        let error =
            json!({"error": {"message": "maximum context length is 20 tokens", "code": "context_length_exceeded"}});
        Reply::json(400, &error)
    };
    app.upstream.reply(too_long());
    let last = ask(&app, &ada, &conversation, Reply::events().text("Short").done()).await;
    assert_eq!(
        (&last["message"]["content"], &last["message"]["status"], &last["reason"]),
        (&json!("Short"), &json!("complete"), &json!("history_shortened"))
    );
    let sent = |call: usize| {
        app.upstream.calls()[call].json()["messages"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(sent(3).len(), 7);
    assert!(sent(4).len() < 7 && sent(4)[0]["role"] == "user", "{:?}", sent(4));

    // A question that is too long by itself is not cut.
    let conversation = ada.conversation().await;
    let before = app.upstream.calls().len();
    let last = ask(&app, &ada, &conversation, too_long()).await;
    assert_eq!(app.upstream.calls().len(), before + 1);
    assert_eq!(
        (&last["code"], &last["reason"]),
        (&json!("context_length"), &json!("context_length"))
    );
    assert!(last["detail"].as_str().unwrap().contains("new conversation"), "{last}");
}

#[tokio::test]
async fn what_fails_does_not_break_the_alternation_of_roles() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    ask(&app, &ada, &conversation, Reply::json(500, &json!({}))).await;
    ask(&app, &ada, &conversation, Reply::events().text("Now").done()).await;
    ask(&app, &ada, &conversation, Reply::events().text("Again").done()).await;
    let calls = app.upstream.calls();
    let expected = json!([{"role": "user", "content": "Tell me\n\nTell me"}]);
    assert_eq!(calls[1].json()["messages"], expected);
    let roles = calls[2].json()["messages"].clone();
    let roles: Vec<_> = roles
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].clone())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
}

#[tokio::test]
async fn a_question_that_a_model_fails_at_does_not_end_the_conversation() {
    let (app, ada) = start().await;
    for failure in [
        Reply::json(500, &json!({})),
        Reply::json(400, &json!({"detail": "too odd"})),
    ] {
        let conversation = ada.conversation().await;
        let before = app.upstream.calls().len();
        ask(&app, &ada, &conversation, failure.clone()).await;
        assert_eq!(app.upstream.calls().len(), before + 1, "a question alone is asked once");
        app.upstream.reply(failure);
        let last = ask(&app, &ada, &conversation, Reply::events().text("Well").done()).await;
        assert_eq!(
            (&last["message"]["content"], &last["message"]["status"], &last["reason"]),
            (&json!("Well"), &json!("complete"), &json!("history_shortened"))
        );
        let calls = app.upstream.calls();
        let sent = |call: usize| calls[before + call].json()["messages"].clone();
        assert_eq!(sent(1), json!([{"role": "user", "content": "Tell me\n\nTell me"}]));
        assert_eq!(sent(2), json!([{"role": "user", "content": "Tell me"}]));
    }
}

#[tokio::test]
async fn thoughts_are_folded_and_never_sent_back() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let reply = Reply::events()
        .text("<thi")
        .text("nk>\nSecret <b>musings</b>\n</th")
        .text("ink>\n\nHi");
    let last = ask(&app, &ada, &conversation, reply.done()).await;
    let message = &last["message"];
    assert_eq!((&message["content"], &last["reason"]), (&json!("Hi"), &Value::Null));
    assert!(message["thoughts"].as_str().unwrap().contains("Secret"), "{message}");
    let html = last["html"].as_str().unwrap();
    assert!(html.starts_with("<details") && html.contains("Hi</p>"), "{html}");
    assert!(!html.contains("<b>") && !html.contains("think&gt;"), "{html}");
    let browser = Browser::sign_in(&app, &ada).await;
    let page = browser.get(&format!("/c/{conversation}")).await.text();
    assert!(page.contains("<details") && !page.contains("&lt;think"), "{page}");
    ask(&app, &ada, &conversation, Reply::events().text("Well").done()).await;
    let sent = app.upstream.calls()[1].json().to_string();
    assert!(!sent.contains("Secret") && sent.contains("Hi"), "{sent}");
}
