//! Connecting within a limit that covers name, TCP and TLS together.

use std::{
    error::Error,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use crate::ProviderError;

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
struct ConnectTimedOut(Duration);

/// An HTTPS or HTTP connector with one limit for everything.
#[derive(Clone)]
pub(super) struct TimedConnector {
    inner: HttpsConnector<HttpConnector>,
    limit: Duration,
}

impl TimedConnector {
    /// Fails if the system's TLS roots are needed and cannot be read. A plain upstream, such as a model server beside us,
    /// needs none: minimal images have no certificates.
    pub(super) fn new(limit: Duration, tls: bool) -> io::Result<Self> {
        // Names may have several addresses; a dead one must not use up the whole limit.
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let config = if tls {
            config.with_native_roots()?
        } else {
            config.with_root_certificates(RootCertStore::empty())
        };
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { inner, limit })
    }
}

impl Service<Uri> for TimedConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let limit = self.limit;
        Box::pin(async move {
            match timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(Box::new(ConnectTimedOut(limit)) as BoxError),
            }
        })
    }
}

/// Whether a failure to connect is one that took too long, by our limit or by the system's own.
pub(super) fn is_connect_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<ConnectTimedOut>() || is_of(cause, io::ErrorKind::TimedOut))
}

/// Whether nobody listens at the address, so that nothing has been sent.
pub(crate) fn is_refused(error: &ProviderError) -> bool {
    let ProviderError::Unreachable(source) = error else {
        return false;
    };
    causes(&**source).any(|cause| is_of(cause, io::ErrorKind::ConnectionRefused))
}

/// The error and what caused it, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

fn is_of(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    let system = error.downcast_ref::<io::Error>();
    system.is_some_and(|error| error.kind() == kind)
}
