//! Making the shared connection: from a pool for a single server, as one routed connection for a cluster.

use std::{sync::Arc, time::Duration};

use deadpool_redis::{
    Connection, Manager, Pool, Runtime,
    redis::{
        self, Client, Cmd, FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisResult, TlsCertificates,
        aio::PubSub, cluster::ClusterClient, cluster_async::ClusterConnection,
    },
};
use secrecy::{ExposeSecret as _, SecretString};

use super::RedisError;
use configuration::RedisMode;

/// One carries the commands; one more while it is being replaced.
const CONNECTIONS: usize = 2;
/// Each step of connecting, for one node.
const STEP_LIMIT: Duration = Duration::from_millis(300);
/// For a node's answer. Calls have limits of their own, which are shorter.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);

/// What is connected to.
pub(super) enum RedisTarget {
    Single {
        pool: Pool,
        client: Box<Client>,
        address: String,
    },
    Cluster {
        client: Box<ClusterClient>,
        nodes: Vec<Client>,
        address: String,
    },
}

/// The shared connection. Cheap to clone; dropping a call's future leaves it in order.
#[derive(Clone)]
pub(super) enum Link {
    /// From the pool, and held so that the pool counts it.
    Single(
        redis::aio::MultiplexedConnection,
        #[expect(dead_code, reason = "held")] Arc<Connection>,
    ),
    Cluster(ClusterConnection),
}

impl RedisTarget {
    /// For `rediss://` the authorities that are believed come from PEM, or are the system's.
    pub(super) fn new(url: &SecretString, mode: RedisMode, authorities: Option<&[u8]>) -> Result<Self, RedisError> {
        let certificates = |pem: &[u8]| TlsCertificates {
            client_tls: None,
            root_cert: Some(pem.to_vec()),
        };
        let urls: Vec<&str> = url.expose_secret().split(',').map(str::trim).collect();
        let mut addresses = Vec::new();
        let mut nodes = Vec::new();
        for url in &urls {
            let info = url.into_connection_info().map_err(RedisError::Url)?;
            addresses.push(info.addr().to_string());
            let is_tls = matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. });
            let node = match authorities.filter(|_| is_tls) {
                Some(pem) => Client::build_with_tls(info, certificates(pem)),
                None => Client::open(info),
            };
            nodes.push(node.map_err(RedisError::Url)?);
        }
        let address = addresses.join(",");
        if mode == RedisMode::Cluster {
            let mut builder = ClusterClient::builder(urls);
            if let Some(pem) = authorities {
                builder = builder.certs(certificates(pem));
            }
            let client = builder
                .connection_timeout(STEP_LIMIT)
                .response_timeout(ANSWER_LIMIT)
                // A call that failed is not repeated: its caller has gone on without.
                .retries(1)
                .build()
                .map_err(RedisError::Url)?;
            return Ok(Self::Cluster {
                client: Box::new(client),
                nodes,
                address,
            });
        }
        let client = nodes.swap_remove(0);
        // The client's own, which has the authorities with it.
        let manager = Manager::new(client.get_connection_info().clone()).map_err(RedisError::Url)?;
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .wait_timeout(Some(STEP_LIMIT))
            .create_timeout(Some(STEP_LIMIT))
            .recycle_timeout(Some(STEP_LIMIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::Setup(deadpool_redis::CreatePoolError::Build(error)))?;
        Ok(Self::Single {
            pool,
            client: Box::new(client),
            address,
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Self::Single { address, .. } | Self::Cluster { address, .. } => address,
        }
    }

    pub(super) fn connections(&self) -> (usize, usize, usize, usize) {
        match self {
            Self::Single { pool, .. } => {
                let status = pool.status();
                let in_use = status.size.saturating_sub(status.available);
                (in_use, status.available, status.max_size, status.waiting)
            }
            // One for each node, which the client keeps to itself.
            Self::Cluster { .. } => (1, 0, 1, 0),
        }
    }

    pub(super) async fn connect(&self) -> Result<Link, RedisError> {
        match self {
            Self::Single { pool, .. } => {
                // What is idle in the pool may be as dead as what is to be replaced.
                pool.retain(|_, _| false);
                let connection = pool.get().await?;
                Ok(Link::Single((*connection).clone(), Arc::new(connection)))
            }
            Self::Cluster { client, .. } => Ok(Link::Cluster(client.get_async_connection().await?)),
        }
    }

    /// A connection for messages, to the `index`-th node: a cluster passes messages on to all of its nodes.
    pub(super) async fn subscriber(&self, index: usize) -> Result<PubSub, RedisError> {
        let client = match self {
            Self::Single { client, .. } => client,
            Self::Cluster { nodes, .. } => &nodes[index % nodes.len()],
        };
        Ok(client.get_async_pubsub().await?)
    }
}

impl Link {
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection, _) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Commands on keys of one slot, in one round trip.
    pub(super) async fn query_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> RedisResult<T> {
        match self {
            Self::Single(connection, _) => commands.query_async(connection).await,
            Self::Cluster(connection) => commands.query_async(connection).await,
        }
    }
}
