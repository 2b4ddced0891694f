//! The service under test, started the way `mapleai serve` starts it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};

use configuration::{
    AdmissionConfig, AnswerCaching, AuthConfig, CacheConfig, Config, Environment, LimitsConfig, LocalConfig, LogConfig,
    ModelConfig, ModelKind, ProviderConfig, ProviderKind, RedisConfig, RedisMode, RetentionConfig, ServerConfig,
    TracesConfig, UsageConfig, cache::HttpCacheConfig, load::Sources, log::LogFormat,
};
use mapleai::app::Server;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use sqlx::PgConnection;

use super::{Client, FakeUpstream, database, database::TestDatabase};

/// The key that the fake upstream must be sent.
pub const UPSTREAM_KEY: &str = "sk-upstream-secret";
pub const OPS_TOKEN: &str = "operations-token-of-the-tests-0123456789";

/// One running service with its database and upstream.
pub struct TestApp {
    pub address: SocketAddr,
    pub server: Server,
    pub config: Config,
    pub upstream: FakeUpstream,
    pub client: Client,
    /// Absent where a test brought its own.
    database: Option<TestDatabase>,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url.clone();
        Self {
            database: Some(database),
            ..Self::start_on(&url, change).await
        }
    }

    /// Starts on a database of the caller's.
    pub async fn start_on(database_url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let upstream = FakeUpstream::start().await;
        let mut config = config(database_url, &upstream.base_url());
        change(&mut config);
        let server = Server::start(config.clone(), metrics(), Sources::default())
            .await
            .unwrap();
        let address = server.address();
        settled(&Client::new(address)).await;
        Self {
            address,
            server,
            config,
            upstream,
            client: Client::new(address),
            database: None,
        }
    }

    /// A second process on the same database, as far as one process can be two: nothing in memory is shared.
    pub async fn start_second(&self) -> (Server, Client) {
        let server = Server::start(self.config.clone(), metrics(), Sources::default())
            .await
            .unwrap();
        let client = Client::new(server.address());
        (server, client)
    }

    /// A connection to look behind the service.
    pub async fn database(&self) -> PgConnection {
        self.database
            .as_ref()
            .expect("this test brought its own database")
            .connection()
            .await
    }

    /// Stops the service as a signal would, and gives what a test may still want to look at.
    pub async fn stop(self) -> (Option<TestDatabase>, FakeUpstream) {
        self.server.stop().await;
        (self.database, self.upstream)
    }
}

/// Waits until the service is ready, or for as long as a database that is there takes.
async fn settled(client: &Client) {
    for _ in 0..100 {
        if client.get("/api/ready").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The recorder is one per process.
fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| telemetry::metrics::install().unwrap()).clone()
}

fn config(database_url: &str, upstream: &str) -> Config {
    Config {
        environment: Environment::Development,
        server: ServerConfig {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            public_url: "http://maple.test".parse().unwrap(),
            ops_token: Some(SecretString::from(OPS_TOKEN)),
            ops_addr: Some("127.0.0.1:0".parse().unwrap()),
            public_metrics: true,
            warmup_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(15),
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            body_limit: 64 * 1024,
            max_connections: 1_000,
            // All tests come from one.
            max_connections_per_address: Some(1_000),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(1),
            termination_grace: None,
        },
        database: database::config(database_url),
        migrations: super::database::migrations(),
        redis: RedisConfig {
            mode: RedisMode::Single,
            url: None,
            ca_file: None,
        },
        cache: CacheConfig {
            session_ttl: Duration::from_hours(24),
            query_ttl: Duration::from_mins(5),
            absent_ttl: Duration::from_secs(30),
            answer_ttl: Duration::from_hours(1),
            answers: AnswerCaching::Deterministic,
            memory_bytes: 8 << 20,
            answer_memory_bytes: 16 << 20,
            answer_max_bytes: 1 << 20,
            http: HttpCacheConfig {
                assets_max_age: Duration::from_hours(365 * 24),
                assets_shared_max_age: Duration::from_hours(1),
                public_max_age: Duration::from_mins(5),
                public_shared_max_age: Duration::from_mins(1),
                public_stale_while_revalidate: Duration::from_secs(30),
                report_max_age: Duration::from_mins(5),
            },
        },
        auth: AuthConfig {
            signing_keys: BTreeMap::from([(
                "test".to_owned(),
                SecretString::from("a-signing-key-that-only-these-tests-use-0123456789"),
            )]),
            active_key: "test".to_owned(),
            access_token_ttl: Duration::from_mins(15),
            session_ttl: Duration::from_hours(24),
            lookup_ttl: Duration::from_secs(1),
            invitation_ttl: Duration::from_hours(168),
            confirmation_ttl: Duration::from_mins(10),
            open_registration: true,
            password_min_length: 12,
            password_hash_concurrency: 4,
            // As cheap as argon2 allows: its strength is not what these tests are about.
            argon2_memory_kib: 64,
            argon2_iterations: 1,
            throttle_per_account: 1_000,
            throttle_per_address: 10_000,
            throttle_window: Duration::from_mins(15),
            throttle_sign_ins: 100_000,
        },
        admission: AdmissionConfig {
            max_in_flight: 256,
            max_in_flight_per_organization: 64,
            queue_length: 64,
            queue_timeout: Duration::from_secs(1),
            memory_bytes: 64 << 20,
        },
        limits: LimitsConfig {
            keys_per_person: 1_000,
            keys_per_organization: 10_000,
            invitations_per_person: 1_000,
            invitations_per_organization: 10_000,
            invitations_per_address: 100,
            conversations_per_person: 10_000,
            sessions_per_person: 1_000,
        },
        usage: UsageConfig {
            queue_capacity: 1_000,
            batch_size: 100,
            flush_interval: Duration::from_millis(20),
            journal_dir: None,
            journal_max_bytes: 1024 * 1024,
            journal_outlives_stop: true,
            stop_timeout: Duration::from_secs(10),
        },
        retention: RetentionConfig {
            interval: Duration::from_mins(10),
            conversations: None,
            replaced_answers: Duration::from_hours(168),
            usage_records: Duration::from_hours(400 * 24),
            audit_events: Duration::from_hours(365 * 24),
            invitations: Duration::from_hours(30 * 24),
            keys: Duration::from_hours(400 * 24),
            organization_grace: Duration::from_hours(168),
        },
        log: LogConfig {
            level: "info".to_owned(),
            format: LogFormat::Json,
            file: None,
        },
        traces: TracesConfig {
            endpoint: None,
            sample_percent: 100,
        },
        local: LocalConfig {
            servers: Vec::new(),
            look_timeout: Duration::from_secs(20),
            titles: true,
        },
        providers: BTreeMap::from([
            ("fake".to_owned(), provider(upstream)),
            // Nothing listens on port 1.
            ("refusing".to_owned(), provider("http://127.0.0.1:1/v1")),
        ]),
        models: vec![
            model(
                "maple-chat",
                "fake",
                ModelKind::Chat,
                Some("upstream-chat-001"),
                Some(("2.50", "10.00")),
            ),
            model(
                "maple-embed",
                "fake",
                ModelKind::Embedding,
                Some("upstream-embed-001"),
                Some(("0.10", "0.00")),
            ),
            model("same-name", "fake", ModelKind::Chat, None, None),
            model("unreachable", "refusing", ModelKind::Chat, None, None),
        ],
    }
}

fn provider(base_url: &str) -> ProviderConfig {
    ProviderConfig {
        base_url: Some(base_url.parse().unwrap()),
        api_key: Some(SecretString::from(UPSTREAM_KEY)),
        headers: BTreeMap::from([("x-gateway-team".to_owned(), SecretString::from("maple"))]),
        connect_timeout: Duration::from_secs(2),
        first_byte_timeout: Duration::from_secs(10),
        first_content_timeout: Duration::from_secs(10),
        chunk_timeout: Duration::from_secs(10),
        whole_timeout: Duration::from_secs(10),
        total_timeout: Duration::from_secs(30),
        first_token_delay: Duration::from_millis(1),
        token_delay: Duration::from_millis(1),
        ..ProviderConfig::new(ProviderKind::Openai)
    }
}

fn model(
    id: &str,
    provider: &str,
    kind: ModelKind,
    upstream: Option<&str>,
    prices: Option<(&str, &str)>,
) -> ModelConfig {
    ModelConfig {
        id: id.to_owned(),
        provider: provider.to_owned(),
        kind,
        upstream: upstream.map(str::to_owned),
        name: None,
        input_price: prices.map(|(input, _)| input.to_owned()),
        cached_input_price: None,
        output_price: prices.map(|(_, output)| output.to_owned()),
        cache: None,
    }
}
