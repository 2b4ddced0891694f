//! The text of odd chunks, as the page has it.

use serde_json::{Value, json};

use crate::support::{Reply, TestApp, accounts::register};

fn chunk(choice: &str) -> String {
    format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{choice}]}}\n\n")
}

#[tokio::test]
async fn what_is_odd_about_a_chunk_does_not_cost_its_text() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let at = |index: &str| {
        [
            format!(r#"{{"index":{index},"delta":{{"content":"Hi"}}}}"#),
            format!(r#"{{"index":{index},"delta":{{"content":" all"}}}}"#),
        ]
    };
    let delta = |content: &str| format!(r#"{{"index":0,"delta":{{"content":{content}}}}}"#);
    let cases: Vec<(Vec<String>, &str)> = vec![
        (
            vec![delta(r#""Hi \ud83d""#), delta(r#""\ude00 there""#)],
            "Hi \u{1f600} there",
        ),
        (vec![delta(r#""Hi \ud83d""#), delta(r#"" there""#)], "Hi \u{fffd} there"),
        (vec![delta(r#""Hi \ud83d""#)], "Hi \u{fffd}"),
        (
            vec![
                delta(r#"[{"type":"thinking","thinking":[{"type":"text","text":"Let me see."}]}]"#),
                delta(r#"[{"type":"text","text":"Hi"}]"#),
                delta(r#"" all""#),
            ],
            "Hi all",
        ),
        (at("null").to_vec(), "Hi all"),
        (at("\"0\"").to_vec(), "Hi all"),
        (at("1").to_vec(), "Hi all"),
        (
            [vec![r#"{"index":0,"delta":null}"#.to_owned()], at("0").to_vec()].concat(),
            "Hi all",
        ),
    ];
    for (choices, text) in cases {
        let reply = choices
            .iter()
            .fold(Reply::events(), |reply, choice| reply.chunk(chunk(choice)));
        let reply = reply.chunk(chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#));
        app.upstream.reply(reply.usage(3, 3).done());
        let path = format!("/api/conversations/{}/messages", ada.conversation().await);
        let question: Value = json!({"content": "Hi", "model": "maple-chat"});
        let done = ada.client.stream(&path, &question).await.until("done").await.json();
        assert_eq!(done["message"]["content"], text, "{choices:?}");
    }
}
