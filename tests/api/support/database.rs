//! A fresh database for every test, copied from one that is migrated once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use configuration::{DatabaseConfig, MigrationsConfig, migrations::Review};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Held while the template is made, since test processes run side by side.
const LOCK: i64 = 0x6d61_706c_655f_7465;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A database of one test; removed when dropped.
pub struct TestDatabase {
    pub url: String,
    pub name: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let template = TEMPLATE.get_or_init(make_template).await;
        Self::copy_of(template).await
    }

    /// One without tables.
    pub async fn empty() -> Self {
        Self::copy_of("template1").await
    }

    async fn copy_of(template: &str) -> Self {
        let name = format!("maple_test_{}", Uuid::new_v4().simple());
        let mut server = connect().await;
        execute(&mut server, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        server.close().await.unwrap();
        Self {
            url: url_of(&name),
            name,
        }
    }

    /// A connection of the test's own, to look behind the service.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread with a runtime of its own: this also runs while a failed test unwinds.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { execute(&mut connect().await, statement).await });
        });
        if removal.join().is_err() && !std::thread::panicking() {
            eprintln!("the database {} could not be removed", self.name);
        }
    }
}

/// What the service is told about a database.
pub fn config(url: &str) -> DatabaseConfig {
    DatabaseConfig {
        url: SecretString::from(url.to_owned()),
        max_connections: 5,
        min_connections: 0,
        max_lifetime: std::time::Duration::from_mins(30),
        idle_timeout: std::time::Duration::from_mins(10),
        acquire_timeout: std::time::Duration::from_millis(500),
        connect_timeout: std::time::Duration::from_secs(5),
        statement_timeout: std::time::Duration::from_secs(5),
        analytics_url: None,
        reporting_url: None,
        replica_max_lag: std::time::Duration::from_secs(15),
        start_timeout: std::time::Duration::from_mins(5),
        migrate_timeout: std::time::Duration::from_mins(5),
        migrate_on_start: false,
        allow_unverified_tls: false,
    }
}

/// As development does with a database that it finds empty.
pub async fn migrate(database: &store::Database) {
    let limit = std::time::Duration::from_secs(5);
    store::migrations::apply(database, configuration::Environment::Development, &migrations(), limit)
        .await
        .unwrap();
}

/// What the service is told about changing the schema.
pub fn migrations() -> MigrationsConfig {
    MigrationsConfig {
        review: Review::None,
        window: Vec::new(),
        backup_command: Vec::new(),
        backup_max_age: std::time::Duration::from_hours(1),
        lock_limit: std::time::Duration::from_secs(30),
        max_lag: std::time::Duration::from_secs(30),
        max_lag_bytes: 1 << 28,
    }
}

fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!("TEST_DATABASE_URL is not set: run `make test`, which starts a PostgreSQL for the tests")
    })
}

fn url_of(database: &str) -> String {
    let mut url = url::Url::parse(&server_url()).unwrap();
    url.set_path(database);
    url.into()
}

async fn connect() -> PgConnection {
    PgConnection::connect(&server_url())
        .await
        .unwrap_or_else(|error| panic!("TEST_DATABASE_URL is of no use: {error}"))
}

async fn execute(server: &mut PgConnection, statement: String) {
    server.execute(sqlx::query(AssertSqlSafe(statement))).await.unwrap();
}

/// Named after the migrations, so that processes share one, and made under another name, so that none sees half of it.
async fn make_template() -> String {
    // The third version of what is made here beside the migrations.
    let name = format!("maple_template_3_{:016x}", digest_of_migrations());
    let mut server = connect().await;
    execute(&mut server, "SET lock_timeout = '60s'".to_owned()).await;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut server)
        .await
        .unwrap();
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut server)
        .await
        .unwrap();
    if !exists {
        let draft = format!("{name}_draft");
        execute(&mut server, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
        execute(&mut server, format!("CREATE DATABASE {draft}")).await;
        let database = store::Database::new(&config(&url_of(&draft))).unwrap();
        migrate(&database).await;
        database.close(std::time::Duration::from_secs(5)).await;
        execute(&mut server, format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
    }
    server.close().await.unwrap();
    name
}

fn digest_of_migrations() -> u64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        std::fs::read(file).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}
