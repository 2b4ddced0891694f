//! The OpenAI API: what passes through untouched, what is changed on the way, and what failures look like.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::register,
    app::UPSTREAM_KEY,
    upstream::{completion, delta, usage_chunk},
};

async fn start() -> (TestApp, Client) {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    (app, program)
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

/// With fields of today's API, fields nobody has thought of yet, odd spacing, escapes and numbers that a float would bend.
const REQUEST: &str = r#"{ "messages": [{"role":"system","content":"Sei \u00e4rgerlich \ud83d\ude00"},
   {"role":"user","content":[{"type":"text","text":"Hi"},{"type":"image_url","image_url":{"url":"data:,x"}}]}],
  "model"  :  "MODEL",
  "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"}}}}}],
  "tool_choice":"auto", "response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},
  "logprobs":true, "top_logprobs":3, "seed":9007199254740993, "temperature":0.30000000000000004, "n":1e0,
  "x_future":{"nested":[null,true,{"model":"inner"}],"z":1.10},	"store":false }
"#;

#[tokio::test]
async fn requests_pass_byte_for_byte_but_for_the_models_name() {
    let (app, program) = start().await;
    program
        .post_raw("/v1/chat/completions", REQUEST.replace("MODEL", "maple-chat"))
        .await
        .ok(200);
    program
        .post_raw("/v1/chat/completions", REQUEST.replace("MODEL", "same-name"))
        .await
        .ok(200);
    let calls = app.upstream.calls();
    assert_eq!(calls[0].path, "/v1/chat/completions");
    assert_eq!(
        String::from_utf8_lossy(&calls[0].body),
        REQUEST.replace("MODEL", "upstream-chat-001")
    );
    assert_eq!(
        String::from_utf8_lossy(&calls[1].body),
        REQUEST.replace("MODEL", "same-name")
    );
}

#[tokio::test]
async fn answers_pass_byte_for_byte() {
    let (app, program) = start().await;
    let body = "{ \"id\" : \"x\", \"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"c\",\"function\":{\"arguments\":\"{\\\"a\\\":1.10}\"}}]},\
        \"logprobs\":{\"content\":[{\"token\":\"\\u00e4\",\"logprob\":-0.30000000000000004}]}}],\n \"x_future\": 1e0,\
        \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1} }\n";
    let headers = [
        ("content-type", "application/json"),
        ("x-ratelimit-remaining-requests", "41"),
        ("openai-processing-ms", "12"),
        ("set-cookie", "upstream=1"),
        ("x-internal-host", "gpu-7"),
    ];
    app.upstream.reply(Reply::whole(200, &headers, body));
    let answer = program.post("/v1/chat/completions", &chat("maple-chat")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), body);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("openai-processing-ms"), "12");
    assert_eq!(
        answer.header("x-ratelimit-remaining-requests"),
        "",
        "it tells of other tenants"
    );
    assert_eq!(answer.header("set-cookie"), "", "an upstream sets no cookies here");
    assert_eq!(answer.header("x-internal-host"), "");
}

#[tokio::test]
async fn streams_pass_byte_for_byte_and_whole() {
    let (app, program) = start().await;
    let odd = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\"\"}}]},\"logprobs\":null}],  \"x\":1.10}\n\n";
    let more = ": a comment\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\u{e4}\"}}]}\n\n";
    let end = "data: [DONE]\n\n";
    // Cut in the middle of an event and of a character.
    let whole = format!("{odd}{more}");
    let cut = whole.find('\u{e4}').unwrap() + 1;
    let mut reply = Reply::events();
    for part in [
        &whole.as_bytes()[..20],
        &whole.as_bytes()[20..cut],
        &whole.as_bytes()[cut..],
    ] {
        reply = reply.chunk(part.to_vec()).pause(Duration::from_millis(20));
    }
    app.upstream.reply(reply.done());
    let mut body = chat("maple-chat");
    body["stream"] = true.into();
    let mut events = program.stream("/v1/chat/completions", &body).await;
    events.rest().await;
    assert_eq!(String::from_utf8_lossy(&events.raw), format!("{odd}{more}{end}"));
}

#[tokio::test]
async fn the_upstream_sees_its_own_credentials_and_no_one_elses() {
    let (app, program) = start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = program
        .request(http::Method::POST, "/v1/chat/completions")
        .header("cookie", "a=b")
        .header("x-secret-of-the-caller", "1")
        .header("traceparent", trace)
        .json(&chat("maple-chat"));
    Answer::of(request).await.ok(200);
    let call = app.upstream.only_call();
    assert_eq!(call.header("authorization"), format!("Bearer {UPSTREAM_KEY}"));
    assert_eq!(call.header("x-gateway-team"), "maple");
    assert_eq!(call.header("content-type"), "application/json");
    assert_eq!(call.header("traceparent"), trace);
    for name in ["cookie", "x-secret-of-the-caller"] {
        assert_eq!(call.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn usage_is_asked_for_and_withheld_from_callers_who_did_not() {
    let (app, program) = start().await;
    let mut body = chat("maple-chat");
    body["stream"] = true.into();
    body["stream_options"] = json!({"x_other": 1});
    let mut events = program.stream("/v1/chat/completions", &body).await;
    let seen = events.rest().await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(seen.last().unwrap().data, "[DONE]");
    assert!(!String::from_utf8_lossy(&events.raw).contains("prompt_tokens"));
    let sent = app.upstream.only_call().json();
    assert_eq!(sent["stream_options"], json!({"x_other": 1, "include_usage": true}));
}

#[tokio::test]
async fn usage_is_kept_for_callers_who_asked() {
    let (app, program) = start().await;
    let mut body = chat("maple-chat");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let seen = program.stream("/v1/chat/completions", &body).await.rest().await;
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(seen[2].json(), usage_chunk(9, 2));
    assert_eq!(
        app.upstream.only_call().json()["stream_options"],
        json!({"include_usage": true})
    );
    // A chunk that carries usage beside text stays, asked for or not.
    let mut both = delta("x");
    both["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 1});
    app.upstream.reply(Reply::events().event(&both).done());
    body.as_object_mut().unwrap().remove("stream_options");
    let seen = program.stream("/v1/chat/completions", &body).await.rest().await;
    assert_eq!(seen[0].json(), both);
}

#[tokio::test]
async fn embeddings_pass_through() {
    let (app, program) = start().await;
    let body = json!({"model": "maple-embed", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float"});
    let answer = program.post("/v1/embeddings", &body).await.ok(200);
    assert_eq!(answer["data"][0]["embedding"], json!([0.25, -0.5]));
    let call = app.upstream.only_call();
    assert_eq!(call.path, "/v1/embeddings");
    assert_eq!(
        call.json(),
        json!({"model": "upstream-embed-001", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float"})
    );
}

#[tokio::test]
async fn the_catalogue_is_listed() {
    let (app, program) = start().await;
    let list = program.get("/v1/models").await.ok(200);
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 4, "{list}");
    assert!(ids.contains(&"maple-chat") && ids.contains(&"maple-embed"));
    let one = program.get("/v1/models/maple-chat").await.ok(200);
    assert_eq!(
        one,
        json!({"id": "maple-chat", "object": "model", "created": 0, "owned_by": "fake"})
    );
    program
        .get("/v1/models/no-such")
        .await
        .openai_error(404, "model_not_found");

    let public = app.client.get("/api/models").await.ok(200);
    let chat = public["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["id"] == "maple-chat")
        .unwrap();
    let expected = json!({
        "id": "maple-chat", "name": "maple-chat", "kind": "chat", "provider": "fake", "currency": "USD",
        "input_price_per_million": "2.50", "cached_input_price_per_million": "2.50", "output_price_per_million": "10.00",
    });
    assert_eq!(*chat, expected);
}

#[tokio::test]
async fn bad_requests_are_told_in_openais_words_and_go_nowhere() {
    let (app, program) = start().await;
    for (body, status, code, param) in [
        ("{", 400, "invalid_json", json!(null)),
        ("", 400, "invalid_json", json!(null)),
        ("{\"model\":\"maple-chat\"} x", 400, "invalid_json", json!(null)),
        ("[]", 400, "invalid_request", json!("body")),
        ("{}", 400, "invalid_request", json!("model")),
        ("{\"model\":1,\"messages\":[]}", 400, "invalid_request", json!("model")),
        ("{\"model\":\"maple-chat\"}", 400, "invalid_request", json!("messages")),
        (
            "{\"model\":\"maple-chat\",\"messages\":\"hi\"}",
            400,
            "invalid_request",
            json!("messages"),
        ),
        (
            "{\"model\":\"maple-chat\",\"messages\":[],\"stream\":\"yes\"}",
            400,
            "invalid_request",
            json!("stream"),
        ),
        (
            "{\"model\":\"gpt-99\",\"messages\":[]}",
            404,
            "model_not_found",
            json!("model"),
        ),
        (
            "{\"model\":\"maple-embed\",\"messages\":[]}",
            400,
            "invalid_request",
            json!("model"),
        ),
    ] {
        let error = program
            .post_raw("/v1/chat/completions", body)
            .await
            .openai_error(status, code);
        assert_eq!(error["param"], param, "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let embed = json!({"model": "maple-embed"});
    assert_eq!(
        program
            .post("/v1/embeddings", &embed)
            .await
            .openai_error(400, "invalid_request")["param"],
        "input"
    );
    program
        .post_raw("/v1/chat/completions", &b"{\"model\":\"\xff\"}"[..])
        .await
        .openai_error(400, "invalid_json");

    let request = program
        .request(http::Method::POST, "/v1/chat/completions")
        .header("content-type", "text/plain");
    Answer::of(request.body(chat("maple-chat").to_string()))
        .await
        .openai_error(415, "unsupported_media_type");
    let huge = format!(
        "{{\"model\":\"maple-chat\",\"messages\":[{{\"content\":\"{}\"}}]}}",
        "x".repeat(70_000)
    );
    program
        .post_raw("/v1/chat/completions", huge)
        .await
        .openai_error(413, "payload_too_large");
    app.client
        .post("/v1/chat/completions", &chat("maple-chat"))
        .await
        .openai_error(401, "invalid_api_key");
    assert_eq!(app.upstream.calls().len(), 0);
}

#[tokio::test]
async fn an_upstreams_refusal_is_passed_on_as_it_is() {
    let (app, program) = start().await;
    for (status, headers) in [
        (400, vec![]),
        (404, vec![]),
        (422, vec![]),
        (429, vec![("retry-after", "7")]),
    ] {
        let body = format!(
            "{{\"error\":{{\"message\":\"no ({status})\",\"type\":\"t\",\"param\":null,\"code\":\"c\"}}, \"x\":1}}"
        );
        let headers: Vec<_> = [("content-type", "application/json")]
            .into_iter()
            .chain(headers)
            .collect();
        app.upstream.reply(Reply::whole(status, &headers, body.clone()));
        let mut asked = chat("maple-chat");
        asked["stream"] = (status == 422).into();
        let answer = program.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("retry-after"), if status == 429 { "7" } else { "" });
    }
}

/// RFC 9110 10.2.3, and OpenAI's own header, which its clients look at first.
#[tokio::test]
async fn when_to_come_back_is_passed_on_as_numbers_within_bounds_or_not_at_all() {
    const BODY: &str = r#"{"error":{"message":"slow down"}}"#;
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:27 GMT");
    let (app, program) = start().await;
    for (headers, seconds, milliseconds) in [
        (vec![("retry-after", "7")], "7", ""),
        (vec![DATE, ("retry-after", "Sun, 06 Nov 1994 08:50:27 GMT")], "60", ""),
        (vec![("retry-after-ms", "1500"), ("retry-after", "2")], "2", "1500"),
        (vec![("retry-after-ms", "1500")], "2", "1500"),
        (vec![("retry-after", "4000000000")], "86400", ""),
        (vec![("retry-after", "later"), ("retry-after-ms", "-1")], "", ""),
    ] {
        app.upstream.reply(Reply::whole(429, &headers, BODY));
        let answer = program.post("/v1/chat/completions", &chat("maple-chat")).await;
        assert_eq!(answer.status, 429);
        assert_eq!(
            (answer.header("retry-after"), answer.header("retry-after-ms")),
            (seconds, milliseconds),
            "{headers:?}"
        );
    }
    app.upstream
        .reply(Reply::whole(503, &[("retry-after-ms", "1500")], BODY));
    let answer = program.post("/v1/chat/completions", &chat("maple-chat")).await;
    answer.openai_error(503, "provider_busy");
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn an_upstreams_failure_is_a_bad_gateway() {
    let (app, program) = start().await;
    // 401, 403 and 407 are about our key with the upstream or its proxy, which the caller can neither see nor mend.
    for status in [500, 502, 503, 529, 401, 403, 407] {
        app.upstream.reply(Reply::json(
            status,
            &json!({"error": {"message": "secret stack trace"}}),
        ));
        let answer = program.post("/v1/chat/completions", &chat("maple-chat")).await;
        let error = answer.openai_error(502, "provider_error");
        assert_eq!(error["type"], "server_error");
        assert!(!answer.text().contains("stack trace"), "{error}");
    }
    program
        .post("/v1/chat/completions", &chat("unreachable"))
        .await
        .openai_error(502, "provider_error");
    // On the connection that was used before, and on the one that is tried then.
    app.upstream.reply(Reply::default().break_off());
    app.upstream.reply(Reply::default().break_off());
    program
        .post("/v1/chat/completions", &chat("maple-chat"))
        .await
        .openai_error(502, "provider_error");
    // A failed call leaves nothing behind that would spoil the next.
    program.post("/v1/chat/completions", &chat("maple-chat")).await.ok(200);
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_given_up() {
    let app = TestApp::start_with(|config| {
        let fake = config.providers.get_mut("fake").unwrap();
        fake.first_byte_timeout = Duration::from_millis(300);
        fake.whole_timeout = Duration::from_millis(300);
        fake.chunk_timeout = Duration::from_millis(300);
        fake.total_timeout = Duration::from_secs(1);
    })
    .await;
    let program = register(&app).await.program().await;
    app.upstream.reply(Reply::silence());
    program
        .post("/v1/chat/completions", &chat("maple-chat"))
        .await
        .openai_error(504, "provider_timeout");
    app.upstream.hung_up().await;

    let mut streamed = chat("maple-chat");
    streamed["stream"] = true.into();
    app.upstream.reply(Reply::silence());
    program
        .post("/v1/chat/completions", &streamed)
        .await
        .openai_error(504, "provider_timeout");

    // Once the head is out, the stream itself says so.
    app.upstream.reply(Reply::events().text("Hello").stall());
    let seen = program.stream("/v1/chat/completions", &streamed).await.rest().await;
    assert_eq!(seen[0].json(), delta("Hello"));
    assert_eq!(seen[1].json()["error"]["code"], "provider_timeout", "{seen:?}");
    assert_eq!(seen.len(), 2, "no [DONE] after an error: {seen:?}");

    // A trickle keeps the limit between chunks happy, and not the one on the whole.
    let trickle = (0..20).fold(Reply::events(), |reply, _| {
        reply.text("x").pause(Duration::from_millis(150))
    });
    app.upstream.reply(trickle.done());
    let seen = program.stream("/v1/chat/completions", &streamed).await.rest().await;
    assert_eq!(
        seen.last().unwrap().json()["error"]["code"],
        "provider_timeout",
        "{seen:?}"
    );
    assert!(seen.len() > 3 && seen.len() < 12, "{}", seen.len());
}

#[tokio::test]
async fn an_unstreamed_answer_to_a_streamed_request_that_is_no_stream_in_any_form_is_passed_on() {
    let (app, program) = start().await;
    let mut odd = completion("all at once", None);
    odd["choices"][0]["message"] = json!(["all at once"]);
    app.upstream.reply(Reply::json(200, &odd));
    let mut body = chat("maple-chat");
    body["stream"] = true.into();
    assert_eq!(program.post("/v1/chat/completions", &body).await.ok(200), odd);
}
