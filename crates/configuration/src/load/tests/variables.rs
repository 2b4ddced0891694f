//! What one variable may get wrong.

use super::{faults, with};

#[test]
fn one_wrong_value_one_line() {
    let table: &[(&str, &str, &str)] = &[
        (
            "MAPLE__SERVER__PORT",
            "abc",
            "server.port = \"abc\" (from MAPLE__SERVER__PORT): must be a whole number from 0 to 65535",
        ),
        (
            "PORT",
            "65536",
            "server.port = 65536 (from PORT): must be a whole number from 0 to 65535",
        ),
        (
            "PORT",
            "-1",
            "server.port = -1 (from PORT): must be a whole number from 0 to 65535",
        ),
        (
            "MAPLE__SERVER__HOST",
            "localhost",
            "server.host = \"localhost\" (from MAPLE__SERVER__HOST): must be an IP address, such as \"127.0.0.1\" or \"::\"",
        ),
        (
            "MAPLE__SERVER__OPS_ADDR",
            "9464",
            "server.ops_addr = \"9464\" (from MAPLE__SERVER__OPS_ADDR): must be an address with a port, such as \"127.0.0.1:9464\" or \"[::]:9464\"",
        ),
        (
            "MAPLE__SERVER__PUBLIC_URL",
            "maple.example",
            "server.public_url = \"maple.example\" (from MAPLE__SERVER__PUBLIC_URL): must be an origin such as \"https://maple.example\"",
        ),
        (
            "MAPLE__SERVER__REQUEST_TIMEOUT",
            "30",
            "server.request_timeout = \"30\" (from MAPLE__SERVER__REQUEST_TIMEOUT): must be a duration from 1ms to 1h, such as \"500ms\", \"30s\" or \"24h\"",
        ),
        (
            "MAPLE__SERVER__REQUEST_TIMEOUT",
            "0s",
            "server.request_timeout = \"0s\" (from MAPLE__SERVER__REQUEST_TIMEOUT): must be a duration from 1ms to 1h, such as \"500ms\", \"30s\" or \"24h\"",
        ),
        (
            "MAPLE__SERVER__BODY_TIMEOUT",
            "500ms",
            "server.body_timeout = \"500ms\" (from MAPLE__SERVER__BODY_TIMEOUT): must be a duration from 1s to 10m, such as \"500ms\", \"30s\" or \"24h\"",
        ),
        (
            "MAPLE__SERVER__BODY_TIMEOUT",
            "11m",
            "server.body_timeout = \"11m\" (from MAPLE__SERVER__BODY_TIMEOUT): must be a duration from 1s to 10m, such as \"500ms\", \"30s\" or \"24h\"",
        ),
        (
            "MAPLE__SERVER__BODY_LIMIT",
            "",
            "server.body_limit = \"\" (from MAPLE__SERVER__BODY_LIMIT): must be a whole number from 1024 to 268435456",
        ),
        (
            "MAPLE__SERVER__TRUSTED_PROXIES",
            "10.0.0.0/8,nonsense",
            "server.trusted_proxies = [\"10.0.0.0/8\", \"nonsense\"] (from MAPLE__SERVER__TRUSTED_PROXIES): must be a list of at most 1000 networks or addresses, such as \"10.0.0.0/8\" (comma separated in a variable)",
        ),
        (
            "MAPLE__SERVER__CORS_ORIGINS",
            "app.example",
            "server.cors_origins = [\"app.example\"] (from MAPLE__SERVER__CORS_ORIGINS): must be a list of at most 1000, each an origin such as \"https://app.example\", or \"*\" (comma separated in a variable)",
        ),
        (
            "DATABASE_URL",
            "mysql://maple:hunter2@db/maple",
            "database.url (from DATABASE_URL): must be a URL such as postgres://user:password@host:5432/database",
        ),
        (
            "MAPLE__DATABASE__MIN_CONNECTIONS",
            "21",
            "database.min_connections = 21 (from MAPLE__DATABASE__MIN_CONNECTIONS): must not be above database.max_connections, which is 20",
        ),
        (
            "MAPLE__DATABASE__MIGRATE_ON_START",
            "yes",
            "database.migrate_on_start = \"yes\" (from MAPLE__DATABASE__MIGRATE_ON_START): must be true or false",
        ),
        (
            "REDIS_URL",
            "http://cache",
            "redis.url (from REDIS_URL): must be a URL such as redis://:password@host:6379 or rediss://…, for a cluster several, separated by commas",
        ),
        (
            "MAPLE__AUTH__SIGNING_KEYS__K2",
            "too short",
            "auth.signing_keys.k2 (from MAPLE__AUTH__SIGNING_KEYS__K2): must be at least 32 bytes long",
        ),
        (
            "MAPLE__AUTH__ACTIVE_KEY",
            "k9",
            "auth.active_key = \"k9\" (from MAPLE__AUTH__ACTIVE_KEY): must be the name of one of auth.signing_keys, which are development; names from variables are lower case",
        ),
        (
            "MAPLE__AUTH__LOOKUP_TTL",
            "6s",
            "auth.lookup_ttl = \"6s\" (from MAPLE__AUTH__LOOKUP_TTL): must be a duration from 1s to 5s, such as \"500ms\", \"30s\" or \"24h\"",
        ),
        (
            "MAPLE__AUTH__SESSION_TTL",
            "1m",
            "auth.session_ttl = \"1m\" (from MAPLE__AUTH__SESSION_TTL): must not be shorter than auth.access_token_ttl",
        ),
        (
            "MAPLE__USAGE__QUEUE_CAPACITY",
            "10",
            "usage.batch_size = 2000 (from built-in default.toml): must not be above usage.queue_capacity, which is 10",
        ),
        (
            "MAPLE__LOG__LEVEL",
            "wrn",
            "log.level = \"wrn\" (from MAPLE__LOG__LEVEL): must be error, warn, info, debug, trace or off, and more as <target>=<level>, such as \"warn,mapleai::http=info\"",
        ),
        (
            "MAPLE__LOG__FORMAT",
            "xml",
            "log.format = \"xml\" (from MAPLE__LOG__FORMAT): must be one of \"pretty\", \"json\"",
        ),
        (
            "MAPLE__PROVIDERS__OPENAI__KIND",
            "openai",
            "providers.openai.base_url: missing; a provider of kind \"openai\" must have one, such as \"https://api.openai.com/v1\"",
        ),
        (
            "MAPLE__PROVIDERS__MAPLE_DEV__TOKEN_DELAY",
            "2h",
            "providers.maple-dev.token_delay = \"2h\" (from MAPLE__PROVIDERS__MAPLE_DEV__TOKEN_DELAY): must be a duration from 0s to 1m, such as \"500ms\", \"30s\" or \"24h\"",
        ),
        (
            "MAPLE__PROVIDERS__MAPLE_DEV__HEADERS__HOST",
            "x",
            "providers.maple-dev.headers.host (from MAPLE__PROVIDERS__MAPLE_DEV__HEADERS__HOST): the name must be that of an HTTP header that requests do not set themselves, and there may be at most 1000",
        ),
        (
            "OPENAI_BASE_URL",
            "https://user:pass@gateway/v1",
            "providers.openai.base_url (from OPENAI_BASE_URL): must be an http:// or https:// URL without credentials, query or fragment, such as \"https://api.openai.com/v1\"",
        ),
        (
            "OPENAI_API_KEY",
            "sk- with spaces",
            "providers.openai.api_key (from OPENAI_API_KEY): must be visible ASCII characters without spaces or line ends",
        ),
        (
            "MAPLE__MODELS",
            "[{ id = ",
            "models (from MAPLE__MODELS): must be a TOML list of tables on one line, such as [{ id = \"...\", ... }]",
        ),
        (
            "MAPLE__MODELS",
            "[]\nserver.port = 1",
            "models (from MAPLE__MODELS): must be a TOML list of tables on one line, such as [{ id = \"...\", ... }]",
        ),
        // Unknown names.
        (
            "MAPLE__SERVER__PROT",
            "1",
            "server.prot (from MAPLE__SERVER__PROT): unknown key; did you mean server.port? Allowed are host, port, public_url, ops_token, ops_addr, public_metrics, warmup_timeout, request_timeout, header_read_timeout, idle_timeout, body_timeout, body_limit, max_connections, max_connections_per_address, trusted_proxies, cors_origins, drain_delay, drain_timeout, termination_grace",
        ),
        (
            "MAPLE__SEVER__PORT",
            "1",
            "sever (from MAPLE__SEVER__PORT): unknown key; did you mean server? Allowed are server, database, migrations, redis, cache, auth, admission, limits, usage, retention, log, traces, local, providers, models",
        ),
        (
            "MAPLE__ZZZ",
            "secret",
            "zzz (from MAPLE__ZZZ): unknown key; allowed are server, database, migrations, redis, cache, auth, admission, limits, usage, retention, log, traces, local, providers, models",
        ),
        (
            "MAPLE__SERVER__PORT__X",
            "1",
            "server.port.x (from MAPLE__SERVER__PORT__X): unknown key; server.port is a single value",
        ),
        (
            "MAPLE__SERVER",
            "1",
            "server (from MAPLE__SERVER): must be a section; name a key in it after another \"__\"",
        ),
        (
            "MAPLE_ENV",
            "prod",
            "MAPLE_ENV: \"prod\" is not an environment; must be one of \"development\", \"staging\", \"production\"",
        ),
        (
            "MAPLE_ENV",
            "",
            "MAPLE_ENV: \"\" is not an environment; must be one of \"development\", \"staging\", \"production\"",
        ),
        (
            "MAPLE_CONFIG_DIR",
            "/nonexistent",
            "MAPLE_CONFIG_DIR: \"/nonexistent\" is not a directory; must be one that holds default.toml",
        ),
        (
            "MAPLE__SERVER__OPS_TOKEN",
            "\u{FFFD}",
            "server.ops_token (from MAPLE__SERVER__OPS_TOKEN): must be valid UTF-8",
        ),
    ];
    for (name, value, line) in table {
        assert_eq!(faults(&with(&[(name, value)])), [*line], "{name}={value}");
    }
}
