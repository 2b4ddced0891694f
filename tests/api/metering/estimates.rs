//! What is charged where the upstream reports nothing.

use serde_json::{Value, json};

use super::{CHAT, ask, record, start};
use crate::support::{Reply, upstream::completion};

/// What pictures and sounds count as at most, with all around them.
const ATTACHMENT: i64 = 2_000;

fn looking(stream: bool) -> Value {
    let picture = format!("data:image/jpeg;base64,{}", "A".repeat(2_500_000));
    json!({"model": "maple-chat", "stream": stream, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture}},
    ]}]})
}

#[tokio::test]
async fn a_picture_is_not_counted_as_text() {
    let (app, program) = start().await;
    app.upstream
        .reply(Reply::events().text("A cat.").usage(1_100, 20).done());
    program.stream(CHAT, &looking(true)).await.rest().await;
    assert_eq!(record(&app, 1).await.tokens(), (1_100, 20, false));

    app.upstream.reply(Reply::events().text("A cat.").stall());
    let mut events = program.stream(CHAT, &looking(true)).await;
    events.next().await.unwrap();
    drop(events);
    let left = record(&app, 2).await;
    assert_eq!((left.outcome.as_str(), left.estimated), ("cancelled", true));
    assert!((1..ATTACHMENT).contains(&left.input), "{left:?}");

    app.upstream.reply(Reply::json(200, &completion("A cat.", None)));
    program.post(CHAT, &looking(false)).await.ok(200);
    let whole = record(&app, 3).await;
    assert!(whole.estimated && (1..ATTACHMENT).contains(&whole.input), "{whole:?}");
}

#[tokio::test]
async fn a_failed_call_is_charged_for_what_came_and_not_for_its_prompt() {
    let (app, program) = start().await;
    let overloaded = json!({"error": {"message": "overloaded", "code": 529}});
    let nothing = [
        Reply::events().event(&overloaded).ended(),
        Reply::events().event(&overloaded).done(),
        Reply::events().event(&overloaded).break_off(),
        Reply::events()
            .event(&json!({"object": "error", "message": "overloaded"}))
            .done(),
        Reply::events().event(&json!({"detail": "overloaded"})).done(),
    ];
    let mut count = 0;
    for reply in nothing {
        app.upstream.reply(reply);
        program.stream(CHAT, &ask(&"x".repeat(4_000), true)).await.rest().await;
        count += 1;
        let found = record(&app, count).await;
        assert_eq!(
            (found.outcome.as_str(), found.tokens(), found.cost),
            ("failed", (0, 0, false), 0)
        );
    }
    app.upstream
        .reply(Reply::events().text("Two words").event(&overloaded).ended());
    program.stream(CHAT, &ask(&"x".repeat(4_000), true)).await.rest().await;
    let found = record(&app, count + 1).await;
    assert_eq!(
        (found.outcome.as_str(), found.output, found.estimated),
        ("failed", 3, true)
    );
    assert!(found.input > 1_000, "{found:?}");
}
