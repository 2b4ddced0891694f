//! Requests over HTTP and HTTPS, each with a limit of time and size, and what came of them.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tower::util::BoxCloneSyncService;

use telemetry::error_chain;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// For a request that no model answers.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Metrics are the largest answer: some hundred KiB.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Characters of an answer's body in a line of the report.
const MAX_SHOWN: usize = 300;

pub(super) struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    token: Option<SecretString>,
    has_answered: bool,
}

/// What came of a request.
pub(super) enum Reply {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// No answer, or half of one.
    Broken(String),
}

impl Client {
    /// For these addresses. Certificate authorities are read only for https: a minimal machine has none.
    pub(super) fn new(url: &str, ops_url: Option<&str>) -> io::Result<Self> {
        let has_tls = [Some(url), ops_url]
            .into_iter()
            .flatten()
            .any(|url| url.starts_with("https:"));
        Ok(Self {
            inner: legacy::Client::builder(TokioExecutor::new()).build(connector(url, has_tls)?),
            token: None,
            has_answered: false,
        })
    }

    /// What the requests from now on are signed with.
    pub(super) fn authorize(&mut self, token: Option<SecretString>) {
        self.token = token;
    }

    /// Whether the last request got a whole answer, whatever it was.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    pub(super) async fn get(&mut self, address: &str, limit: Duration) -> Reply {
        self.send(Method::GET, address, Bytes::new(), limit).await
    }

    pub(super) async fn post(&mut self, address: &str, body: &Value, limit: Duration) -> Reply {
        self.send(Method::POST, address, body.to_string().into(), limit).await
    }

    pub(super) async fn post_nothing(&mut self, address: &str) -> Reply {
        self.send(Method::POST, address, Bytes::new(), REQUEST_TIMEOUT).await
    }

    async fn send(&mut self, method: Method, address: &str, body: Bytes, limit: Duration) -> Reply {
        let reply = match timeout(limit, self.exchange(method, address, body)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Broken(error_chain(&*error)),
            Err(_) => Reply::Broken(format!("not within {} s", limit.as_secs())),
        };
        self.has_answered = matches!(reply, Reply::Whole { .. });
        reply
    }

    async fn exchange(&self, method: Method, address: &str, body: Bytes) -> Result<Reply, BoxError> {
        let mut request = Request::builder().method(method).uri(address);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let (head, body) = self.inner.request(request.body(Full::new(body))?).await?.into_parts();
        match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
            Ok(body) => Ok(Reply::Whole {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            }),
            Err(error) => {
                let (reason, status) = (error_chain(&*error), head.status.as_u16());
                Ok(Reply::Broken(format!("{reason}, after the status {status}")))
            }
        }
    }
}

impl Reply {
    pub(super) fn is(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Whole { status, .. } if *status == wanted)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        match self {
            Self::Whole { headers, .. } => headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default(),
            Self::Broken(_) => "",
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match self {
            Self::Whole { body, .. } => body,
            Self::Broken(_) => &[],
        }
    }

    /// Null for what is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap_or_default()
    }

    /// What came, in a few words, for the line of a failure. Bodies of successes are not shown: they may hold tokens.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Broken(reason) => format!("no whole answer came: {reason}"),
            Self::Whole { status, .. } if status.is_success() => format!("{} came", status.as_u16()),
            Self::Whole { status, body, .. } => {
                let text = String::from_utf8_lossy(body).replace(['\r', '\n', '\t'], " ");
                let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
                let separator = if text.is_empty() { "" } else { ": " };
                format!("{} came{separator}{text}", status.as_u16())
            }
        }
    }
}

/// Through the proxy that `HTTPS_PROXY` and its like name, where URL is one of https.
fn connector(url: &str, has_tls: bool) -> io::Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = if has_tls {
        config.with_native_roots()?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_http1();
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    // A proxy has no way to this machine.
    let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let proxy = (uri.scheme_str() == Some("https") && !is_here)
        .then(|| Matcher::from_env().intercept(&uri))
        .flatten();
    Ok(match proxy {
        None => BoxCloneSyncService::new(tls.wrap_connector(tcp)),
        Some(proxy) => {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
            if let Some(credentials) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(credentials.clone());
            }
            BoxCloneSyncService::new(tls.wrap_connector(tunnel))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::Reply;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply::Whole {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn bodies_of_failures_are_shown_in_one_line_and_those_of_successes_are_not() {
        assert_eq!(reply(200, r#"{"access_token":"t"}"#).summary(), "200 came");
        assert_eq!(
            reply(503, "not\r\nready\u{1b}[31m").summary(),
            "503 came: not  ready[31m"
        );
        assert_eq!(reply(502, "").summary(), "502 came");
        assert_eq!(reply(500, "").summary().len(), "500 came".len());
        let long = Reply::Whole {
            status: StatusCode::BAD_GATEWAY,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; 4096]),
        };
        assert_eq!(long.summary().len(), "502 came: ".len() + 300);
    }

    #[test]
    fn what_is_no_json_has_no_fields() {
        assert!(reply(200, "<html>").json()["status"].is_null());
        assert!(Reply::Broken("reset".to_owned()).json()["status"].is_null());
    }
}
