//! Connecting: past the bound on connections, to a proxy or directly, and through TLS, within one limit for all of that.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{HttpConnector, proxy::Tunnel};
use rustls::{ClientConfig, RootCertStore};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tower::Service;

use super::{
    connection::{ProxyStream, UpstreamConnection},
    error::{BoxError, ConnectTimedOut, NoFreeConnection},
    proxy::Proxy,
};
use configuration::Http2;

/// Cheap to clone: the client does so for every request.
#[derive(Clone)]
pub(super) struct Connector(Arc<ConnectorInner>);

struct ConnectorInner {
    secured: HttpsConnector<Hop>,
    is_forwarded: bool,
    /// For the name, TCP, the proxy and TLS together; and before that as long again for a permit.
    limit: Duration,
    max_connections: usize,
    permits: Arc<Semaphore>,
}

impl Connector {
    /// Fails if the system's TLS roots are needed for the proxy and cannot be read.
    pub(super) fn new(
        origin: &Uri,
        proxy: Option<Proxy>,
        tls_of_origin: ClientConfig,
        http2: Http2,
        limit: Duration,
        max_connections: usize,
    ) -> io::Result<Self> {
        let is_https = origin.scheme_str() == Some("https");
        // Requests that are not HTTP/1.1 pass a proxy by a tunnel, whatever the scheme.
        let is_forwarded = proxy.is_some() && !is_https && http2 != Http2::PriorKnowledge;
        let hop = Hop::new(limit, proxy, is_forwarded)?;
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls_of_origin)
            .https_or_http();
        let secured = match http2 {
            Http2::Auto => builder.enable_all_versions().wrap_connector(hop),
            Http2::Off => builder.enable_http1().wrap_connector(hop),
            Http2::PriorKnowledge => builder.enable_http2().wrap_connector(hop),
        };
        Ok(Self(Arc::new(ConnectorInner {
            secured,
            is_forwarded,
            limit,
            max_connections,
            permits: Arc::new(Semaphore::new(max_connections)),
        })))
    }
}

impl Connector {
    /// Whether a proxy reads requests and makes them in our place.
    pub(super) fn is_forwarded(&self) -> bool {
        self.0.is_forwarded
    }
}

impl ConnectorInner {
    async fn permit(&self) -> Result<OwnedSemaphorePermit, BoxError> {
        let permits = Arc::clone(&self.permits);
        match timeout(self.limit, permits.acquire_owned()).await {
            Ok(permit) => Ok(permit?),
            Err(_) => Err(Box::new(NoFreeConnection {
                max: self.max_connections,
                waited: self.limit,
            })),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = UpstreamConnection;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<UpstreamConnection, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = inner.permit().await?;
            // None of its parts ever has to be waited for before a call.
            let connecting = inner.secured.clone().call(origin);
            match timeout(inner.limit, connecting).await {
                Ok(stream) => Ok(UpstreamConnection::new(stream?, inner.is_forwarded, permit)),
                Err(_) => Err(Box::new(ConnectTimedOut(inner.limit)) as BoxError),
            }
        })
    }
}

/// What TLS to the provider goes through.
#[derive(Clone)]
enum Hop {
    Direct(HttpConnector),
    /// To a proxy that takes requests for others.
    Forward(HttpsConnector<HttpConnector>, Uri),
    /// By `CONNECT` through a proxy.
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>),
}

impl Hop {
    fn new(limit: Duration, proxy: Option<Proxy>, is_forwarded: bool) -> io::Result<Self> {
        // Names may have several addresses; a dead one must not use up the whole limit.
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let Some(proxy) = proxy else {
            return Ok(Self::Direct(tcp));
        };
        let is_https = proxy.uri.scheme_str() == Some("https");
        let to_proxy = HttpsConnectorBuilder::new()
            .with_tls_config(tls(is_https)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        if is_forwarded {
            return Ok(Self::Forward(to_proxy, proxy.uri));
        }
        let tunnel = Tunnel::new(proxy.uri, to_proxy);
        Ok(Self::Tunnel(match proxy.authorization {
            Some(authorization) => tunnel.with_auth(authorization),
            None => tunnel,
        }))
    }
}

impl Service<Uri> for Hop {
    type Response = ProxyStream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<ProxyStream, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(origin);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
            Self::Forward(to_proxy, proxy) => to_proxy.call(proxy.clone()),
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(origin);
                Box::pin(async move { Ok(connecting.await?) })
            }
        }
    }
}

/// Fails if the system's TLS roots are needed and cannot be read. A plain upstream, such as a model server beside us,
/// needs none: minimal images have no certificates.
pub(super) fn tls(with_roots: bool) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = if with_roots {
        config.with_native_roots()?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    Ok(config.with_no_client_auth())
}
