//! The way to a provider's server, for every vendor: a request in, the head and body of its response out.
//!
//! The pool, HTTP/1.1 and HTTP/2 are hyper-util's. Around it are a connector that knows the proxy and the bound on connections, a client
//! that is replaced when it is old, several of them where HTTP/2 needs more than one connection, and one repetition of a request that the
//! server has most likely not looked at (decisions 0022 and 0043).

mod body;
mod clients;
mod connection;
mod connector;
mod error;
mod proxy;
mod read_on;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use rustls::ClientConfig;
use secrecy::ExposeSecret;

use crate::{ProviderError, SentMark, registry::ProviderSetupError};
pub(crate) use body::ResponseBody;
use body::{DrainingList, RequestBody};
use clients::{ClientPool, PING, Ping, PoolSettings};
use configuration::{Http2, ProviderConfig};
use connector::{Connector, tls};
pub(crate) use error::is_refused;
use error::{Again, again, unanswered};
use proxy::{ProxyVariables, proxy_for};

/// Connections to one server, and how requests go out on them.
pub(crate) struct Transport {
    clients: ClientPool,
    connect_timeout: Duration,
    /// Of HTTP/1.1, made once: hyper-util would put it together for each request.
    host: Option<HeaderValue>,
    /// What a proxy that reads requests wants with each of them.
    proxy_authorization: Option<HeaderValue>,
    /// The last response was of HTTP/2.
    is_h2: AtomicBool,
    draining: Arc<DrainingList>,
}

impl Transport {
    /// To the server of `origin`, which has a scheme and an authority, by way of what the configuration or the environment says.
    pub(crate) fn new(name: &str, origin: &Uri, config: &ProviderConfig) -> Result<Self, ProviderSetupError> {
        let variables = ProxyVariables::read(|name| std::env::var(name).ok());
        let tls = tls(origin.scheme_str() == Some("https")).map_err(ProviderSetupError::Tls)?;
        Self::with(name, origin, config, &variables, tls, PING)
    }

    /// With what a test gives in place of the environment, the system's TLS roots and half a minute.
    fn with(
        name: &str,
        origin: &Uri,
        config: &ProviderConfig,
        variables: &ProxyVariables,
        tls: ClientConfig,
        ping: Ping,
    ) -> Result<Self, ProviderSetupError> {
        let setting = config.proxy.as_ref().map(ExposeSecret::expose_secret);
        let proxy = proxy_for(origin, setting, variables).map_err(|_| ProviderSetupError::Proxy(name.to_owned()))?;
        let connector = Connector::new(
            origin,
            proxy.clone(),
            tls,
            config.http2,
            config.connect_timeout,
            config.max_connections,
        )
        .map_err(ProviderSetupError::Tls)?;
        let proxy_authorization = proxy
            .filter(|_| connector.is_forwarded())
            .and_then(|proxy| proxy.authorization);
        let settings = PoolSettings {
            is_h2_only: config.http2 == Http2::PriorKnowledge,
            idle_timeout: config.idle_timeout,
            max_age: config.max_connection_age,
            max_connections: config.max_connections,
            ping,
        };
        Ok(Self {
            clients: ClientPool::new(connector, settings, Instant::now()),
            connect_timeout: config.connect_timeout,
            host: host_of(origin),
            proxy_authorization,
            is_h2: AtomicBool::new(settings.is_h2_only),
            draining: Arc::default(),
        })
    }

    /// Sends the request that `request` makes, whose URI is absolute, and waits for the head of its response. It is sent again where the
    /// server says that it has not looked at it, or where a connection that had been idle ended without a byte of a response: on a connection of
    /// its own, and no more after that.
    /// `mark` is set when it begins to be sent. The caller sets the limit on the whole wait.
    pub(crate) async fn send(
        &self,
        request: impl Fn() -> Request<Bytes>,
        mark: &SentMark,
    ) -> Result<Response<ResponseBody>, ProviderError> {
        self.draining.poll_some();
        let (client, mut in_flight) = self.clients.client(self.is_h2.load(Ordering::Relaxed), Instant::now());
        let mut sent = client.request(self.outgoing(request(), mark)).await;
        if let Err(error) = &sent
            && again(error) == Some(Again::Pooled)
        {
            let client;
            (client, in_flight) = self.clients.client(true, Instant::now());
            sent = Box::pin(client.request(self.outgoing(request(), mark))).await;
        }
        // The next connection may be at its end as well, where a server takes few requests on each.
        if let Err(error) = &sent
            && again(error).is_some()
        {
            let client;
            (client, in_flight) = self.clients.fresh();
            sent = Box::pin(client.request(self.outgoing(request(), mark))).await;
        }
        let response = sent.map_err(|error| unanswered(error, self.connect_timeout))?;
        let is_h2 = response.version() == Version::HTTP_2;
        if is_h2 != self.is_h2.load(Ordering::Relaxed) {
            self.is_h2.store(is_h2, Ordering::Relaxed);
        }
        Ok(response.map(|body| ResponseBody {
            body,
            in_flight,
            draining: Arc::clone(&self.draining),
        }))
    }

    fn outgoing(&self, request: Request<Bytes>, mark: &SentMark) -> Request<RequestBody> {
        let mut request = request.map(|body| RequestBody::new(body, mark.clone()));
        // HTTP/2 has the authority in its place. Until the first response it is not known which it is, and both are allowed if they are equal
        // (RFC 9113 8.3.1).
        if let Some(host) = self.host.as_ref().filter(|_| !self.is_h2.load(Ordering::Relaxed)) {
            request
                .headers_mut()
                .entry(header::HOST)
                .or_insert_with(|| host.clone());
        }
        if let Some(authorization) = &self.proxy_authorization {
            request
                .headers_mut()
                .insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// The Host of a request (RFC 9112 3.2), without the port where the scheme has it by itself.
fn host_of(origin: &Uri) -> Option<HeaderValue> {
    let host = origin.host()?;
    let usual = if origin.scheme_str() == Some("https") { 443 } else { 80 };
    match origin.port_u16().filter(|port| *port != usual) {
        Some(port) => HeaderValue::from_str(&format!("{host}:{port}")).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the servers of tests end with their runtime")]
mod tests;
