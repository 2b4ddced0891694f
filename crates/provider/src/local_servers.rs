//! Model servers that run on this machine already: looked for once, on loopback, and known by what they answer.
//!
//! A port says nothing of who listens there, so that nothing but a product's own marks makes a server one. Looks read and change
//! nothing: they are GET requests without a key, whatever keys this process has, each on a connection of its own that goes to
//! 127.0.0.1 directly, past any proxy.

mod get;
mod lists;
mod marks;

use std::{fmt, time::Duration};

use futures_util::future::join_all;
use url::Url;

use configuration::{LocalProduct, LocalServer, ProviderConfig, ProviderKind};
use domain::model::ModelKind;
use get::GetError;

/// Models that are taken from one server.
pub const MAX_MODELS: usize = 256;
/// A server that loads a model for the first question to it answers nothing until that is done.
const LOADING: Duration = Duration::from_mins(5);
/// Without a graphics card an answer is slow.
const WHOLE: Duration = Duration::from_mins(10);
const TOTAL: Duration = Duration::from_mins(30);
/// Below the 5 s after which vLLM's HTTP server closes an unused connection.
const IDLE: Duration = Duration::from_secs(4);

/// A server that showed the marks of its product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalModelServer {
    pub product: LocalProduct,
    pub port: u16,
    /// In the server's order, at most [`MAX_MODELS`].
    pub models: Vec<ListedModel>,
    pub left_out: LeftOut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    pub id: String,
    /// Where the server tells; else its id has to do.
    pub kind: Option<ModelKind>,
}

/// How many of a server's models are not taken, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// The server passes questions to them on to another machine.
    pub remote: usize,
    /// For neither chat nor embeddings, or with an id that cannot be asked for.
    pub unusable: usize,
    /// Configured, or another server's.
    pub taken: usize,
    /// More than [`MAX_MODELS`].
    pub beyond: usize,
}

impl LeftOut {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (self.remote, "running on another machine".to_owned()),
            (
                self.unusable,
                "for neither chat nor embeddings, or with unusable ids".to_owned(),
            ),
            (self.taken, "in the catalogue already".to_owned()),
            (self.beyond, format!("beyond the first {MAX_MODELS}")),
        ];
        let mut separator = "";
        for (count, reason) in reasons.iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {reason}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Why what listens on a port is not taken for a product's server.
#[derive(Debug, thiserror::Error)]
enum NotFound {
    #[error("no answer to GET {path}")]
    Get {
        path: &'static str,
        #[source]
        source: GetError,
    },
    #[error("GET {path} is answered with status {status}")]
    Status {
        path: &'static str,
        status: http::StatusCode,
    },
    #[error("the answer to GET {path} is not what {product} gives")]
    Foreign { path: &'static str, product: LocalProduct },
    #[error("no answer within {0:?}")]
    Slow(Duration),
}

impl LocalModelServer {
    /// How it is reached as a provider.
    pub fn provider(&self) -> ProviderConfig {
        ProviderConfig {
            base_url: Url::parse(&format!("http://127.0.0.1:{}/v1", self.port)).ok(),
            first_byte_timeout: LOADING,
            first_content_timeout: LOADING,
            whole_timeout: WHOLE,
            total_timeout: TOTAL,
            idle_timeout: IDLE,
            ..ProviderConfig::new(ProviderKind::Openai)
        }
    }
}

/// Looks for all of these servers at the same time, for at most `limit`. Those that are not there, or are something else, are no
/// fault: only the log at level debug tells of them.
pub async fn look(servers: &[LocalServer], limit: Duration) -> Vec<LocalModelServer> {
    let looks = servers.iter().map(|server| async move {
        let looked = tokio::time::timeout(limit, marks::identify(*server)).await;
        match looked.unwrap_or(Err(NotFound::Slow(limit))) {
            Ok(found) => Some(found),
            Err(reason) => {
                let LocalServer { product, port } = server;
                tracing::debug!(target: "mapleai::providers", %product, port, error = %reason, "no model server here");
                None
            }
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
