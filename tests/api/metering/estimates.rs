//! What is charged where the upstream reports nothing.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{CHAT, ask, record, start};
use crate::support::{Reply, TestApp, accounts::register, upstream::completion};

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
async fn nothing_is_charged_before_anything_was_sent() {
    // Takes no further connection, and refuses none.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    let app = TestApp::start_with(|config| {
        let provider = config.providers.get_mut("refusing").unwrap();
        provider.base_url = Some(format!("http://{address}/v1").parse().unwrap());
        provider.connect_timeout = Duration::from_secs(20);
    })
    .await;
    let program = register(&app).await.program().await;
    for (number, temperature) in [1, 0].into_iter().enumerate() {
        let mut body = ask(&"x".repeat(4_000), true);
        (body["model"], body["temperature"]) = ("unreachable".into(), temperature.into());
        let request = program.request(Method::POST, CHAT).json(&body);
        let left = request.timeout(Duration::from_millis(500)).send().await;
        assert!(left.is_err());
        let found = record(&app, number + 1).await;
        assert_eq!((found.outcome.as_str(), found.tokens()), ("cancelled", (0, 0, false)));
    }
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
