mod neighbour;

use std::time::Duration;

use serde_json::{Value, json};

use super::{LocalModelServer, MAX_MODELS, look};
use configuration::{LocalProduct, LocalServer};
use domain::model::ModelKind;
use neighbour::{FakeResponse, Neighbour};

/// For servers that answer, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(20);
/// For servers that never do.
const SHORT: Duration = Duration::from_millis(300);

fn ollama(models: Value) -> Neighbour {
    Neighbour::start(move |path| match path {
        "/" => FakeResponse::text("Ollama is running"),
        "/api/tags" => FakeResponse::json(&json!({ "models": models })),
        _ => FakeResponse::status(404),
    })
}

fn lm_studio() -> Neighbour {
    Neighbour::start(|path| match path {
        "/api/v0/models" => FakeResponse::json(&json!({"object": "list", "data": [
            {"id": "qwen2.5-7b", "object": "model", "type": "llm", "state": "not-loaded", "arch": "qwen2"},
            {"id": "vectors", "object": "model", "type": "embeddings", "state": "loaded"},
            {"id": "speaker", "object": "model", "type": "tts", "state": "loaded"},
        ]})),
        _ => FakeResponse::status(404),
    })
}

fn owned_by(owner: &str, ids: &[&str]) -> Value {
    let entry = |id: &&str| json!({"id": id, "object": "model", "owned_by": owner});
    json!({"object": "list", "data": ids.iter().map(entry).collect::<Vec<_>>()})
}

fn llama_cpp() -> Neighbour {
    Neighbour::start(|path| match path {
        "/v1/models" => FakeResponse::json(&owned_by("llamacpp", &["tiny.gguf"])),
        _ => FakeResponse::status(404),
    })
}

fn vllm() -> Neighbour {
    Neighbour::start(|path| match path {
        "/version" => FakeResponse::json(&json!({"version": "0.11.0"})),
        "/v1/models" => FakeResponse::json(&owned_by("vllm", &["org/model-8b"])),
        _ => FakeResponse::status(404),
    })
}

async fn found(product: LocalProduct, neighbour: &Neighbour, limit: Duration) -> Option<LocalModelServer> {
    let port = neighbour.port;
    look(&[LocalServer { product, port }], limit).await.pop()
}

fn ids(server: &LocalModelServer) -> Vec<&str> {
    server.models.iter().map(|model| model.id.as_str()).collect()
}

#[tokio::test]
async fn each_product_is_known_by_its_own_marks_and_by_no_others() {
    let neighbours = [
        ollama(json!([{"name": "llama3.2:1b"}])),
        lm_studio(),
        llama_cpp(),
        vllm(),
    ];
    for (is, neighbour) in neighbours.iter().enumerate() {
        for (wanted, product) in LocalProduct::ALL.into_iter().enumerate() {
            let found = found(product, neighbour, LONG).await;
            assert_eq!(
                found.is_some(),
                is == wanted,
                "neighbour {is} taken for {product}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn all_are_looked_for_at_once_with_get_requests_that_carry_no_key() {
    let neighbours = [
        ollama(json!([{"name": "llama3.2:1b"}, {"name": "all-minilm", "details": {"family": "bert"}}])),
        lm_studio(),
        llama_cpp(),
        vllm(),
    ];
    let ports = neighbours.iter().map(|neighbour| neighbour.port);
    let servers: Vec<_> = LocalProduct::ALL
        .into_iter()
        .zip(ports)
        .map(|(product, port)| LocalServer { product, port })
        .collect();
    let found = look(&servers, LONG).await;
    let listed: Vec<_> = found
        .iter()
        .map(|server| (server.product.as_str(), ids(server)))
        .collect();
    assert_eq!(
        listed,
        [
            ("ollama", vec!["llama3.2:1b", "all-minilm"]),
            ("lm-studio", vec!["qwen2.5-7b", "vectors"]),
            ("llama-cpp", vec!["tiny.gguf"]),
            ("vllm", vec!["org/model-8b"]),
        ]
    );
    assert_eq!(found[0].models[1].kind, Some(ModelKind::Embedding));
    assert_eq!(found[1].models[1].kind, Some(ModelKind::Embedding));
    assert_eq!(found[1].left_out.unusable, 1);
    for neighbour in &neighbours {
        for head in neighbour.heads() {
            assert!(head.starts_with("GET "), "{head}");
            let lower = head.to_ascii_lowercase();
            assert!(!lower.contains("authorization") && !lower.contains("api-key"), "{head}");
        }
    }
}

#[tokio::test]
async fn models_that_leave_the_machine_are_left_out_and_counted() {
    let neighbour = ollama(json!([
        {"name": "llama3.2:1b", "remote_host": "", "details": {"family": "llama", "remote_model": null}},
        {"name": "gpt-oss:120b-cloud"},
        {"name": "GLM-4.6:Cloud"},
        {"name": "mine", "remote_host": "https://models.example:443"},
        {"name": "yours", "details": {"remote_model": "gpt-oss:120b"}},
        {"name": "cloudy:7b"},
    ]));
    let found = found(LocalProduct::Ollama, &neighbour, LONG).await.unwrap();
    assert_eq!(ids(&found), ["llama3.2:1b", "cloudy:7b"]);
    assert_eq!(found.left_out.to_string(), "4 running on another machine");
}

#[tokio::test]
async fn a_long_list_is_cut_and_one_that_is_too_large_is_not_read() {
    let many =
        |count: usize, pad: &str| -> Value { (0..count).map(|n| json!({"name": format!("m{n}{pad}")})).collect() };
    let long = found(LocalProduct::Ollama, &ollama(many(5_000, "")), LONG)
        .await
        .unwrap();
    assert_eq!(
        (long.models.len(), long.left_out.beyond),
        (MAX_MODELS, 5_000 - MAX_MODELS)
    );
    let huge = ollama(many(20_000, &"x".repeat(100)));
    assert_eq!(found(LocalProduct::Ollama, &huge, LONG).await, None);
}

#[tokio::test]
async fn what_is_no_model_server_is_left_out() {
    let elsewhere = ollama(json!([{"name": "elsewhere"}]));
    let location = format!("http://127.0.0.1:{}", elsewhere.port);
    let foreign =
        json!({"object": "list", "data": [{"id": "a", "object": "model"}], "models": [{"name": "a"}], "version": "1"});
    let others: [(&str, Neighbour); 7] = [
        (
            "a page for every path",
            Neighbour::start(|_| FakeResponse::html("<h1>Welcome</h1>")),
        ),
        (
            "JSON of another shape",
            Neighbour::start(move |_| FakeResponse::json(&foreign)),
        ),
        ("one that wants a key", Neighbour::start(|_| FakeResponse::status(401))),
        (
            "one whose health is well and that knows no such path",
            Neighbour::start(|path| {
                if path == "/health" {
                    FakeResponse::text("ok")
                } else {
                    FakeResponse::status(405)
                }
            }),
        ),
        (
            "one that sends elsewhere",
            Neighbour::start(move |path| FakeResponse::redirect(&format!("{location}{path}"))),
        ),
        (
            "what is not HTTP",
            Neighbour::start(|_| FakeResponse::Raw(b"220 mail ready\r\n".to_vec())),
        ),
        ("one that hangs up", Neighbour::start(|_| FakeResponse::Raw(Vec::new()))),
    ];
    for (what, neighbour) in &others {
        for product in LocalProduct::ALL {
            assert_eq!(found(product, neighbour, LONG).await, None, "{product}: {what}");
        }
    }
    assert_eq!(elsewhere.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_silent_or_an_endless_server_is_given_up_at_the_limit() {
    for answer in [FakeResponse::Silent, FakeResponse::Endless, FakeResponse::Trickle] {
        let never = Neighbour::start({
            let answer = answer.clone();
            move |_| answer.clone()
        });
        let closed_port = Neighbour::closed_port();
        let servers = [
            LocalServer {
                product: LocalProduct::Ollama,
                port: never.port,
            },
            LocalServer {
                product: LocalProduct::Vllm,
                port: closed_port,
            },
        ];
        let looked = tokio::time::timeout(LONG, look(&servers, SHORT)).await;
        assert_eq!(looked.expect("the limit holds"), Vec::new(), "{answer:?}");
    }
}

/// llama.cpp lists its models to everybody, and answers nobody without the key.
#[tokio::test]
async fn a_server_that_wants_a_key_for_questions_alone_is_left_out() {
    let keyed = Neighbour::start(|path| match path {
        "/v1/models" => FakeResponse::json(&owned_by("llamacpp", &["tiny.gguf"])),
        _ => FakeResponse::status(401),
    });
    assert_eq!(found(LocalProduct::LlamaCpp, &keyed, LONG).await, None);
}

#[tokio::test]
async fn a_second_mark_does_where_the_first_is_missing() {
    let behind_a_proxy = Neighbour::start(|path| match path {
        "/api/tags" => FakeResponse::json(&json!({"models": [{"name": "llama3.2:1b"}]})),
        "/api/version" => FakeResponse::json(&json!({"version": "0.12.3"})),
        _ => FakeResponse::html("<h1>Proxy</h1>"),
    });
    assert!(found(LocalProduct::Ollama, &behind_a_proxy, LONG).await.is_some());
    let older = Neighbour::start(|path| match path {
        "/v1/models" => FakeResponse::json(&owned_by("someone", &["tiny.gguf"])),
        "/props" => FakeResponse::json(&json!({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 1})),
        _ => FakeResponse::status(404),
    });
    assert!(found(LocalProduct::LlamaCpp, &older, LONG).await.is_some());
}
