//! Providers behind TLS: trusted if the system trusts their authority, and not otherwise.

use std::{fs, net::SocketAddr, sync::Arc};

use axum::{Json, Router, routing::post, serve::Listener};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::support::{Client, database::TestDatabase, process::Process};

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            // Whoever does not trust us leaves in the middle of the handshake.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Serves one answer over TLS; gives its URL and the authority's certificate.
async fn provider() -> (String, String) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let listener = TlsListener {
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let answer = || async {
        Json(
            json!({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "over TLS"}, "finish_reason": "stop"}]}),
        )
    };
    let router = Router::new().route("/v1/chat/completions", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, authority_certificate.pem())
}

/// A program's client of a process that trusts the authorities in this file.
async fn program(database: &TestDatabase, url: &str, authorities: &str) -> (Process, Client) {
    let process = Process::start(&[
        ("DATABASE_URL", &database.url),
        ("MAPLE__DATABASE__MIGRATE_ON_START", "false"),
        ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
        ("SSL_CERT_FILE", authorities),
        ("MAPLE__PROVIDERS__SECURE__KIND", "openai"),
        ("MAPLE__PROVIDERS__SECURE__BASE_URL", url),
        (
            "MAPLE__MODELS",
            r#"[{id = "secure", provider = "secure", kind = "chat"}]"#,
        ),
    ]);
    let (client, _) = process.ready().await;
    let email = format!("{}@maple.test", uuid::Uuid::new_v4().simple());
    let body =
        json!({"email": email, "password": "a phrase of her own choice", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let person = client.with(made["access_token"].as_str().unwrap());
    let key = person.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let program = client.with(key["key"].as_str().unwrap());
    (process, program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_called_over_tls_if_its_authority_is_trusted() {
    let (url, authority) = provider().await;
    let (_, other) = provider().await;
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().await;
    let ask = json!({"model": "secure", "messages": []});
    let file = |name: &str, certificate: &str| {
        let path = folder.path().join(name);
        fs::write(&path, certificate).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (_trusting, program_of_trusting) = program(&database, &url, &file("authority.pem", &authority)).await;
    let answer = program_of_trusting.post("/v1/chat/completions", &ask).await.ok(200);
    assert_eq!(answer["choices"][0]["message"]["content"], "over TLS");
    let (_wary, program_of_wary) = program(&database, &url, &file("other.pem", &other)).await;
    program_of_wary
        .post("/v1/chat/completions", &ask)
        .await
        .openai_error(502, "provider_error");
}
