//! What browsers and shared caches are told, and what a real shared cache makes of it.

use std::io::Read as _;

use http::{HeaderMap, Method, header};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::support::{
    Answer, Client, TestApp,
    accounts::{Browser, Person, register},
    nginx::Nginx,
};

/// Every GET route, with something to find under each.
fn paths(app: &TestApp, conversation: &str) -> Vec<String> {
    let routes = app.server.edge().routes();
    let paths = routes.filter(|route| route.method == Method::GET).map(|route| {
        route
            .path
            .replace("/api/conversations/{id}", &format!("/api/conversations/{conversation}"))
            .replace("/c/{id}", &format!("/c/{conversation}"))
            .replace("/v1/models/{id}", "/v1/models/maple-chat")
            .replace("{token}", "mi_none")
            .replace("/assets/{name}", &mapleai::web::assets::url("app.css"))
    });
    paths.collect()
}

/// The ways in which one person's requests carry who they are.
struct Credentials {
    token: String,
    key: String,
    cookie: String,
    conversation: String,
}

impl Credentials {
    async fn of(app: &TestApp, person: &Person) -> Self {
        Self {
            token: person.access_token.clone(),
            key: person.create_key().await.1,
            cookie: Browser::sign_in(app, person).await.cookie,
            conversation: person.conversation().await,
        }
    }

    fn ways(&self, client: &Client, path: &str) -> [RequestBuilder; 3] {
        let get = || client.request(Method::GET, path);
        [
            get().bearer_auth(&self.token),
            get().bearer_auth(&self.key),
            get().header("cookie", &self.cookie),
        ]
    }
}

/// RFC 9111 section 3: whether a shared cache may store an answer to a request with credentials. Deliberately more than
/// nginx does.
fn shared_caches_may_store(headers: &HeaderMap) -> bool {
    let control = headers[header::CACHE_CONTROL].to_str().unwrap();
    let says = |name: &str| {
        control
            .split(',')
            .any(|part| part.trim().split('=').next() == Some(name))
    };
    !says("no-store") && !says("private")
}

#[tokio::test]
async fn only_what_is_open_to_all_may_be_stored_for_all() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let hers = Credentials::of(&app, &ada).await;
    let mut public = Vec::new();
    for path in paths(&app, &hers.conversation) {
        let bare = Answer::of(app.client.request(Method::GET, &path)).await;
        for request in hers.ways(&app.client, &path) {
            let answer = Answer::of(request).await;
            if shared_caches_may_store(&answer.headers) {
                assert_eq!(answer.body, bare.body, "{path} depends on who asks and may be stored");
                assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path}");
                public.push(path.clone());
            }
        }
    }
    public.sort();
    public.dedup();
    let css = mapleai::web::assets::url("app.css");
    assert_eq!(public, ["/api/models", "/api/openapi.json", &css]);
    // Signing in hands out a cookie, and is never stored.
    let login = json!({"email": ada.email, "password": "wrong wrong wrong"});
    let refused = app.client.post("/api/auth/login", &login).await;
    assert_eq!(refused.header("cache-control"), "no-store");
}

#[tokio::test]
async fn each_class_has_its_headers_and_tags() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let expected = [
        (
            "/api/models",
            "public, max-age=300, s-maxage=60, stale-while-revalidate=30",
        ),
        (
            "/api/openapi.json",
            "public, max-age=300, s-maxage=60, stale-while-revalidate=30",
        ),
        ("/api/usage", "private, max-age=300"),
    ];
    for (path, control) in expected {
        let first = ada.client.get(path).await;
        assert_eq!(
            (first.status.as_u16(), first.header("cache-control")),
            (200, control),
            "{path}"
        );
        let tag = first.header("etag");
        assert!(tag.starts_with("W/\"") && tag.len() == 36, "{path}: {tag:?}");
        let asked = |tag: &str| ada.client.request(Method::GET, path).header("if-none-match", tag);
        let unchanged = Answer::of(asked(tag)).await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0), "{path}");
        assert_eq!(
            (unchanged.header("etag"), unchanged.header("cache-control")),
            (tag, control)
        );
        let changed = Answer::of(asked("W/\"0\"")).await;
        assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, tag), "{path}");
        // One tag for all encodings.
        let packed = ada.client.request(Method::GET, path).header("accept-encoding", "gzip");
        assert_eq!(Answer::of(packed).await.header("etag"), tag, "{path}");
    }
    // What is a person's own is kept by no browser: its cache lies on a disk that others may use.
    for path in [
        "/api/users/me",
        "/api/users",
        "/api/sessions",
        "/api/keys",
        "/api/invitations",
        "/api/conversations",
        &format!("/api/conversations/{}", ada.conversation().await),
    ] {
        let answer = ada.client.get(path).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("cache-control"),
                answer.header("etag")
            ),
            (200, "no-store", ""),
            "{path}"
        );
    }
    for path in [
        "/api/health",
        "/api/ready",
        "/sign-in",
        "/nowhere",
        "/assets/app.0000000000000000.css",
    ] {
        let answer = app.client.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("etag"), "", "{path}");
    }
    assert_eq!(
        app.client.get("/api/usage").await.header("cache-control"),
        "no-store",
        "a refusal"
    );
}

#[tokio::test]
async fn assets_come_compressed_and_stay_for_a_year() {
    let app = TestApp::start().await;
    let path = mapleai::web::assets::url("app.css");
    let ask = |encodings: &str| {
        app.client
            .request(Method::GET, &path)
            .header("accept-encoding", encodings)
    };
    let plain = Answer::of(ask("identity")).await;
    assert_eq!((plain.status.as_u16(), plain.header("content-encoding")), (200, ""));
    assert_eq!(plain.header("content-type"), "text/css; charset=utf-8");
    for (offer, encoding) in [("gzip, deflate, br", "br"), ("gzip", "gzip")] {
        let packed = Answer::of(ask(offer)).await;
        assert_eq!(packed.header("content-encoding"), encoding);
        assert_eq!(
            packed.header("cache-control"),
            "public, max-age=31536000, s-maxage=3600, immutable"
        );
        assert!(packed.header("vary").to_lowercase().contains("accept-encoding"));
        assert_eq!(packed.header("content-length"), packed.body.len().to_string());
        let mut bytes = Vec::new();
        if encoding == "br" {
            brotli::BrotliDecompress(&mut &packed.body[..], &mut bytes).unwrap();
        } else {
            flate2::read::GzDecoder::new(&packed.body[..])
                .read_to_end(&mut bytes)
                .unwrap();
        }
        assert!(bytes == plain.body && packed.body.len() < bytes.len() / 2, "{encoding}");
    }
}

#[tokio::test]
async fn a_real_shared_cache_gives_nobody_anothers_answer() {
    let app = TestApp::start().await;
    let nginx = Nginx::start(app.address.port()).await;
    let cache = Client::new(([127, 0, 0, 1], nginx.port).into());
    let (ada, bob) = (register(&app).await, register(&app).await);
    let (hers, his) = (Credentials::of(&app, &ada).await, Credentials::of(&app, &bob).await);
    let mut shared = Vec::new();
    // Twice, so that what was stored is given.
    for _ in 0..2 {
        for path in paths(&app, &hers.conversation) {
            let her_answers = futures_util::future::join_all(hers.ways(&cache, &path).map(Answer::of)).await;
            let his_answers = futures_util::future::join_all(his.ways(&cache, &path).map(Answer::of)).await;
            let nobodys = Answer::of(cache.request(Method::GET, &path)).await;
            for answer in his_answers.iter().chain([&nobodys]) {
                let text = answer.text();
                for hers in [&ada.email, &ada.id, &ada.organization] {
                    assert!(
                        !text.contains(hers.as_str()),
                        "{path}: hers went to somebody else: {text}"
                    );
                }
            }
            if her_answers
                .iter()
                .chain(&his_answers)
                .any(|answer| answer.header("x-shared-cache") == "HIT")
            {
                shared.push(path);
            }
        }
    }
    shared.sort();
    shared.dedup();
    let css = mapleai::web::assets::url("app.css");
    assert_eq!(shared, ["/api/models", "/api/openapi.json", &css], "what was shared");
    // Her own things do come to her through it.
    let me = Answer::of(cache.request(Method::GET, "/api/users/me").bearer_auth(&hers.token)).await;
    assert_eq!(me.ok(200)["email"], ada.email);
}
