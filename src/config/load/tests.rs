//! Loading as a whole: order, faults, masks. Each test has a directory and variables of its own.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use proptest::prelude::*;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{
    ConfigFaults, Effective, Sources,
    schema::{Field, Kind, Presence, Preset},
};
use crate::config::{Config, Environment, FIELDS, ModelKind, ProviderConfig, ProviderKind};

const SECRET: &str = "a-secret-of-the-production-system-0123456789";

/// The built-in files only.
fn with(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment_variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        directory: PathBuf::from("/nonexistent"),
        dotenv_dir: PathBuf::from("/nonexistent"),
    }
}

fn production(more: &[(&'static str, &'static str)]) -> Sources {
    let mut variables = vec![
        ("MAPLE_ENV", "production"),
        ("DATABASE_URL", "postgres://maple:hunter2@db/mapleai"),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.example"),
        ("MAPLE__AUTH__SIGNING_KEYS__K1", SECRET),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
    ];
    variables.extend(more);
    with(&variables)
}

/// A directory with files, and variables.
fn files(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut sources = with(variables);
    sources.directory = directory.path().to_owned();
    sources.dotenv_dir = directory.path().to_owned();
    (directory, sources)
}

fn lines(faults: &ConfigFaults) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// The faults' lines, with the temporary directory left out.
fn faults(sources: &Sources) -> Vec<String> {
    let directory = format!("{}/", sources.directory.display());
    match Config::load(sources) {
        Ok(_) => Vec::new(),
        Err(faults) => lines(&faults).iter().map(|line| line.replace(&directory, "")).collect(),
    }
}

#[test]
fn development_needs_nothing() {
    let config = Config::load(&with(&[])).unwrap();
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(
        (config.server.host.to_string().as_str(), config.server.port),
        ("127.0.0.1", 3000)
    );
    assert_eq!(config.server.public_url.as_str(), "http://localhost:3000/");
    assert_eq!(config.server.drain_delay, Duration::ZERO);
    assert_eq!(config.server.request_timeout, Duration::from_secs(30));
    assert_eq!(
        config.database.url.expose_secret(),
        "postgres://maple@127.0.0.1:54329/mapleai"
    );
    assert!(config.database.migrate_on_start && config.redis.url.is_none());
    assert!(config.auth.signing_keys.contains_key(&config.auth.active_key));
    assert_eq!(config.auth.invitation_ttl, Duration::from_hours(7 * 24));
    let models: Vec<(&str, ModelKind)> = config
        .models
        .iter()
        .map(|model| (model.id.as_str(), model.kind))
        .collect();
    assert_eq!(
        models,
        [
            ("maple-dev", ModelKind::Chat),
            ("maple-dev-embed", ModelKind::Embedding)
        ]
    );
    let provider = &config.providers["maple-dev"];
    assert_eq!(
        (provider.kind, provider.total_timeout),
        (ProviderKind::Mock, Duration::from_mins(10))
    );
}

#[test]
fn production_names_all_that_only_the_operator_knows() {
    assert_eq!(
        faults(&with(&[("MAPLE_ENV", "production")])),
        [
            "auth.active_key: missing; must be the name of one of auth.signing_keys; set MAPLE__AUTH__ACTIVE_KEY",
            "auth.signing_keys: missing; must have at least one entry; set MAPLE__AUTH__SIGNING_KEYS__<NAME>",
            "database.url: missing; must be a URL such as postgres://user:password@host:5432/database; \
             set MAPLE__DATABASE__URL or DATABASE_URL",
            "server.public_url: missing; must be an origin such as \"https://maple.example\"; set MAPLE__SERVER__PUBLIC_URL",
        ]
    );
    let config = Config::load(&production(&[])).unwrap();
    assert_eq!(config.server.host.to_string(), "0.0.0.0");
    assert!(!config.database.migrate_on_start && config.models.is_empty());
}

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
            "redis.url (from REDIS_URL): must be a URL such as redis://:password@host:6379, for a cluster several, separated by commas",
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
            "usage.batch_size = 1000 (from built-in default.toml): must not be above usage.queue_capacity, which is 10",
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
            "server.prot (from MAPLE__SERVER__PROT): unknown key; did you mean server.port? Allowed are host, port, public_url, ops_token, ops_addr, public_metrics, warmup_timeout, request_timeout, header_read_timeout, idle_timeout, body_limit, max_connections, trusted_proxies, cors_origins, drain_delay, drain_timeout",
        ),
        (
            "MAPLE__SEVER__PORT",
            "1",
            "sever (from MAPLE__SEVER__PORT): unknown key; did you mean server? Allowed are server, database, redis, cache, auth, admission, usage, log, traces, providers, models",
        ),
        (
            "MAPLE__ZZZ",
            "secret",
            "zzz (from MAPLE__ZZZ): unknown key; allowed are server, database, redis, cache, auth, admission, usage, log, traces, providers, models",
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

#[test]
fn what_files_may_get_wrong() {
    let table: &[(&str, &[&str])] = &[
        (
            "[server]\nport = \"3000\"",
            &["server.port = \"3000\" (from development.toml): must be a whole number from 0 to 65535"],
        ),
        ("server = 3", &["server = 3 (from development.toml): must be a section"]),
        ("models = [3]", &["models[0] (from development.toml): must be a table"]),
        (
            "[[models]]\nname = \"M\"",
            &[
                "models[0].id: missing; must be 1 to 128 visible ASCII characters without spaces",
                "models[0].kind: missing; must be one of \"chat\", \"embedding\"",
                "models[0].provider: missing; must be the name of one of providers",
            ],
        ),
        (
            "[[models]]\nid = \"a b\"\nprovider = \"x\"\nkind = \"image\"\ninput_price = \"1e3\"\nsecret = \"hunter2\"",
            &[
                "models[0].id = \"a b\" (from development.toml): must be 1 to 128 visible ASCII characters without spaces",
                "models[0].input_price = \"1e3\" (from development.toml): must be US dollars per million tokens as a decimal text of at most 6 digits before and 9 after the point, such as \"2.50\"",
                "models[0].kind = \"image\" (from development.toml): must be one of \"chat\", \"embedding\"",
                "models[0].provider = \"x\" (from development.toml): must be the name of one of providers, which are none",
                "models[0].secret (from development.toml): unknown key; allowed are id, provider, kind, upstream, name, input_price, output_price, cache",
            ],
        ),
        (
            "[providers.p]\nkind = \"mock\"\n[[models]]\nid = \"m\"\nprovider = \"p\"\nkind = \"chat\"\n[[models]]\nid = \"m\"\nprovider = \"p\"\nkind = \"chat\"",
            &["models[1].id = \"m\" (from development.toml): must be the only model of this id"],
        ),
        (
            "[providers.\"My Provider\"]\nkind = \"mock\"",
            &[
                "providers.\"My Provider\" (from development.toml): the name must be 1 to 64 of the characters a-z 0-9 - _, and there may be at most 1000",
            ],
        ),
        (
            "\"models[999999999]\" = 1",
            &[
                "\"models[999999999]\" (from development.toml): unknown key; did you mean models? Allowed are server, database, redis, cache, auth, admission, usage, log, traces, providers, models",
            ],
        ),
        (
            "\"server.port\" = 1",
            &[
                "\"server.port\" (from development.toml): unknown key; did you mean server? Allowed are server, database, redis, cache, auth, admission, usage, log, traces, providers, models",
            ],
        ),
    ];
    let needed = [
        ("DATABASE_URL", "postgres://db/x"),
        ("MAPLE__AUTH__SIGNING_KEYS__K1", SECRET),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
    ];
    for (text, expected) in table {
        let (_directory, sources) = files(&[("development.toml", text)], &needed);
        assert_eq!(faults(&sources), *expected, "{text}");
    }
}

#[test]
fn an_unreadable_source_is_told_without_its_text_and_without_guesses_about_what_it_would_have_set() {
    let (_directory, sources) = files(
        &[
            (
                "development.toml",
                "[database]\nurl = \"postgres://maple:hunter2@db\" nonsense",
            ),
            (
                ".env.local",
                "PORT=3001\nMAPLE__SERVER__OPS_TOKEN hunter2\nMAPLE_ENV=staging\n",
            ),
        ],
        &[("MAPLE__SERVER__PROT", "1")],
    );
    let found = faults(&sources);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(found[0], ".env.local: line 2 must have the form NAME=value");
    assert_eq!(
        found[1],
        ".env.local: MAPLE_ENV must be set in the environment, not here"
    );
    assert!(
        found[2].starts_with("development.toml: TOML parse error at line 2"),
        "{found:#?}"
    );
    assert!(found[3].starts_with("server.prot"), "{found:#?}");
    assert!(!found.concat().contains("hunter2"), "{found:#?}");
}

#[test]
fn all_faults_come_at_once() {
    let found = faults(&production(&[
        ("MAPLE__SERVER__PORT", "abc"),
        ("MAPLE__SERVER__OPS_TOKEN", "short"),
        ("MAPLE__SERVER__CORS_ORIGINS", "*"),
        ("MAPLE__SERVER__PUBLIC_METRICS", "true"),
        ("MAPLE__DATABASE__MIGRATE_ON_START", "true"),
        (
            "MAPLE__AUTH__SIGNING_KEYS__OLD",
            "maple-development-key-that-is-public-and-protects-nothing",
        ),
        ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "1024"),
        ("MAPLE__LOG__LEVEL", "warn,mapleai=debug"),
        ("MAPLE__PROVIDERS__TEST__KIND", "mock"),
        ("MAPLE__TYPO", "1"),
    ]));
    let keys: Vec<&str> = found.iter().filter_map(|line| line.split([' ', ':']).next()).collect();
    assert_eq!(
        keys,
        [
            "auth.argon2_memory_kib",
            "auth.signing_keys.old",
            "database.migrate_on_start",
            "log.level",
            "providers.test.kind",
            "server.cors_origins",
            "server.ops_token",
            "server.port",
            "server.public_metrics",
            "typo",
        ],
        "{found:#?}"
    );
    assert!(!found.concat().contains("short"), "{found:#?}");
    let mut http = production(&[]);
    http.environment_variables.push((
        "MAPLE__SERVER__PUBLIC_URL".to_owned(),
        "http://maple.example".to_owned(),
    ));
    assert_eq!(
        faults(&http),
        [
            "server.public_url = \"http://maple.example\" (from MAPLE__SERVER__PUBLIC_URL): must start with https:// in production"
        ]
    );
}

#[test]
fn later_sources_win_key_by_key() {
    let default = include_str!("../../../config/default.toml");
    let own = format!(
        "{}\n[redis]\nurl = \"redis://own\"\n",
        include_str!("../../../config/development.toml")
    );
    let own = own.replace(
        "[server]\n",
        "[server]\nport = 2\nbody_limit = 2222\nmax_connections = 2\n",
    );
    let dotenv = "# mine\nPORT=3\nMAPLE__SERVER__MAX_CONNECTIONS='3'\nexport REDIS_URL=redis://dotenv\nUNRELATED=x\n";
    let layers = [
        ("default.toml", default),
        ("development.toml", own.as_str()),
        (".env.local", dotenv),
    ];
    let (_directory, sources) = files(
        &layers,
        &[
            ("MAPLE__SERVER__MAX_CONNECTIONS", "4"),
            ("MAPLE__SERVER__CORS_ORIGINS", ""),
        ],
    );
    let config = Config::load(&sources).unwrap();
    assert_eq!(
        config.server.header_read_timeout,
        Duration::from_secs(10),
        "default.toml"
    );
    assert_eq!(config.server.body_limit, 2222, "development.toml");
    assert_eq!(config.server.port, 3, ".env.local");
    assert_eq!(config.server.max_connections, 4, "environment");
    assert_eq!(config.server.public_url.as_str(), "http://localhost:3/");
    assert_eq!(config.redis.url.unwrap().expose_secret(), "redis://dotenv");
    assert_eq!(config.models.len(), 2);
}

#[test]
fn dotenv_is_for_development_only() {
    let (_directory, mut sources) = files(&[(".env.local", "PORT=1\nnonsense\n")], &[]);
    sources.environment_variables = production(&[]).environment_variables;
    assert_eq!(Config::load(&sources).unwrap().server.port, 3000);
}

#[test]
fn two_names_of_one_key_may_agree_but_not_differ() {
    let agree = with(&[("PORT", "4000"), ("MAPLE__SERVER__PORT", "4000")]);
    assert_eq!(Config::load(&agree).unwrap().server.port, 4000);
    assert_eq!(
        faults(&with(&[
            ("DATABASE_URL", "postgres://u:hunter2@a/b"),
            ("MAPLE__DATABASE__URL", "postgres://u:hunter2@c/d")
        ])),
        ["database.url: DATABASE_URL and MAPLE__DATABASE__URL are both set and differ; set one of them"]
    );
    // In different sources the later one wins, as with any other key.
    let (_directory, sources) = files(&[(".env.local", "PORT=4001\n")], &[("MAPLE__SERVER__PORT", "4002")]);
    assert_eq!(Config::load(&sources).unwrap().server.port, 4002);
}

#[test]
fn empty_variables_unset() {
    let config = Config::load(&with(&[("PORT", ""), ("DATABASE_URL", ""), ("OPENAI_API_KEY", "")])).unwrap();
    assert_eq!(config.server.port, 3000);
    assert!(!config.providers.contains_key("openai"));
    let own = "[redis]\nurl = \"redis://own\"\n";
    let needed = [
        ("DATABASE_URL", "postgres://db/x"),
        ("MAPLE__AUTH__SIGNING_KEYS__K1", SECRET),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
    ];
    let (_directory, mut sources) = files(&[("development.toml", own)], &needed);
    assert!(Config::load(&sources).unwrap().redis.url.is_some());
    sources
        .environment_variables
        .push(("MAPLE__REDIS__URL".to_owned(), String::new()));
    assert!(Config::load(&sources).unwrap().redis.url.is_none());
}

#[test]
fn an_openai_key_in_development_adds_a_provider() {
    let config = Config::load(&with(&[("OPENAI_API_KEY", "sk-1")])).unwrap();
    let provider = &config.providers["openai"];
    assert_eq!(
        provider.base_url.as_ref().unwrap().as_str(),
        "https://api.openai.com/v1"
    );
    assert_eq!(provider.api_key.as_ref().unwrap().expose_secret(), "sk-1");
    assert!(provider.discover_models && provider.kind == ProviderKind::Openai);

    let local = Config::load(&with(&[
        ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1"),
        ("MAPLE__PROVIDERS__OPENAI__CONNECT_TIMEOUT", "1s"),
        ("MAPLE__PROVIDERS__OPENAI__DISCOVER_MODELS", "false"),
    ]))
    .unwrap();
    let provider = &local.providers["openai"];
    assert_eq!(
        provider.base_url.as_ref().unwrap().as_str(),
        "http://127.0.0.1:11434/v1"
    );
    assert!(provider.api_key.is_none() && !provider.discover_models);
    assert_eq!(provider.connect_timeout, Duration::from_secs(1));

    assert!(
        Config::load(&production(&[("OPENAI_API_KEY", "sk-1")]))
            .unwrap()
            .providers
            .is_empty()
    );
}

#[test]
fn production_can_do_with_variables_alone() {
    let config = Config::load(&production(&[
        ("MAPLE__PROVIDERS__OPENAI__KIND", "openai"),
        ("MAPLE__PROVIDERS__OPENAI__BASE_URL", "https://api.openai.com/v1"),
        ("MAPLE__PROVIDERS__OPENAI__API_KEY", "sk-1"),
        ("MAPLE__PROVIDERS__OPENAI__HEADERS__X_TEAM", "maple"),
        (
            "MAPLE__MODELS",
            "[{ id = \"llama3.2:1b\", provider = \"openai\", kind = \"chat\", input_price = \"0.10\" }]",
        ),
        ("MAPLE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
        ("MAPLE__SERVER__CORS_ORIGINS", "https://a.example,https://b.example"),
    ]))
    .unwrap();
    assert_eq!(config.providers["openai"].headers["x-team"].expose_secret(), "maple");
    assert_eq!(config.models[0].id, "llama3.2:1b");
    let proxies: Vec<String> = config.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32"]);
    assert_eq!(config.server.cors_origins, ["https://a.example", "https://b.example"]);
}

#[test]
fn variables_find_entries_that_files_have_named() {
    let own = "[providers.Open-AI_eu]\nkind = \"openai\"\nbase_url = \"http://a/v1\"\n[providers.Open-AI_eu.headers]\nX-Team = \"a\"";
    let needed = [
        ("DATABASE_URL", "postgres://db/x"),
        ("MAPLE__AUTH__SIGNING_KEYS__K1", SECRET),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
    ];
    let (_directory, mut sources) = files(
        &[("development.toml", &own.replace("Open-AI_eu", "open-ai_eu"))],
        &needed,
    );
    sources.environment_variables.push((
        "MAPLE__PROVIDERS__OPEN_AI_EU__HEADERS__X_TEAM".to_owned(),
        "b".to_owned(),
    ));
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.providers.len(), 1);
    assert_eq!(config.providers["open-ai_eu"].headers["X-Team"].expose_secret(), "b");
}

#[test]
fn the_printed_form_masks_secrets_tells_origins_and_reads_back() {
    let effective = Effective::load(&production(&[
        ("REDIS_URL", "redis://:hunter2@cache:6379"),
        ("MAPLE__SERVER__OPS_TOKEN", "hunter2-hunter2-hunter2-hunter2-hunter2"),
        ("MAPLE__PROVIDERS__OPENAI__KIND", "openai"),
        ("MAPLE__PROVIDERS__OPENAI__BASE_URL", "https://api.openai.com/v1"),
        ("MAPLE__PROVIDERS__OPENAI__API_KEY", "hunter2"),
        ("MAPLE__PROVIDERS__OPENAI__HEADERS__X_TEAM", "hunter2"),
        (
            "MAPLE__MODELS",
            "[{ id = \"m\", provider = \"openai\", kind = \"chat\", name = \"a \\\"b\\\" \\\\ c\" }]",
        ),
    ]))
    .unwrap();
    let toml = effective.to_toml();
    let json = effective.to_json();
    for text in [&toml, &json.to_string()] {
        assert!(!text.contains("hunter2") && !text.contains(SECRET), "{text}");
        assert!(text.contains("postgres://maple:********@db/mapleai"), "{text}");
    }
    for line in [
        "# The effective configuration in production; secrets are masked.",
        "url = \"postgres://maple:********@db/mapleai\"     # DATABASE_URL",
        "port = 3000                                      # built-in default.toml",
        "host = \"0.0.0.0\"                                 # built-in production.toml",
        "k1 = \"********\"                                  # MAPLE__AUTH__SIGNING_KEYS__K1",
        "total_timeout = \"10m\"                            # preset",
        "[providers.openai.headers]",
        "# upstream is not set",
    ] {
        assert!(toml.lines().any(|printed| printed == line), "{line}\n{toml}");
    }
    assert_eq!(json["environment"], "production");
    assert_eq!(json["server"]["port"], 3000);
    assert_eq!(json["models"][0]["name"], "a \"b\" \\ c");
    assert_eq!(
        json["origins"]["providers.openai.api_key"],
        "MAPLE__PROVIDERS__OPENAI__API_KEY"
    );

    // Only the masks are no longer what they were; in development they pass.
    let readable = toml.replace("\"********\"", &format!("\"{SECRET}\""));
    let (_directory, sources) = files(&[("development.toml", &readable)], &[]);
    let again = Effective::load(&sources).unwrap();
    assert_eq!(again.to_json()["models"], json["models"]);
    assert_eq!(again.to_json()["auth"], json["auth"]);
}

/// Collects the field names that a struct's `Deserialize` asks for.
struct FieldNames<'f>(&'f mut BTreeSet<&'static str>);

impl<'de> serde::Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn assert_alike<'de, T: serde::Deserialize<'de>>(fields: &[Field]) {
    let mut names = BTreeSet::new();
    assert!(T::deserialize(FieldNames(&mut names)).is_err());
    assert_eq!(
        fields.iter().map(|field| field.name).collect::<BTreeSet<_>>(),
        names,
        "{}",
        std::any::type_name::<T>()
    );
}

#[test]
fn schema_and_structs_have_the_same_keys() {
    use crate::config::{auth, cache, database, log, providers, server, usage};
    assert_alike::<Config>(FIELDS);
    assert_alike::<server::ServerConfig>(server::FIELDS);
    assert_alike::<database::DatabaseConfig>(database::FIELDS);
    assert_alike::<database::RedisConfig>(database::REDIS_FIELDS);
    assert_alike::<cache::CacheConfig>(cache::FIELDS);
    assert_alike::<cache::HttpCacheConfig>(cache::HTTP_FIELDS);
    assert_alike::<auth::AuthConfig>(auth::FIELDS);
    assert_alike::<usage::UsageConfig>(usage::FIELDS);
    assert_alike::<log::LogConfig>(log::FIELDS);
    assert_alike::<providers::ModelConfig>(providers::MODEL_FIELDS);
    let Kind::Section(provider) = &providers::FIELDS.item else {
        panic!("providers are sections")
    };
    assert_alike::<ProviderConfig>(provider);
}

/// Serde's own defaults serve programs that build a `ProviderConfig` from JSON; they must not differ.
#[test]
fn presets_are_the_structs_defaults() {
    let bare: ProviderConfig = serde_json::from_value(serde_json::json!({ "kind": "mock" })).unwrap();
    let Kind::Section(fields) = &crate::config::providers::FIELDS.item else {
        panic!("providers are sections")
    };
    let mut preset = serde_json::json!({ "kind": "mock" });
    for field in *fields {
        match field.presence {
            Presence::Preset(Preset::Text(text)) => preset[field.name] = text.into(),
            Presence::Preset(Preset::Flag(flag)) => preset[field.name] = flag.into(),
            _ => {}
        }
    }
    let preset: ProviderConfig = serde_json::from_value(preset).unwrap();
    assert_eq!(format!("{bare:?}"), format!("{preset:?}"));
}

#[test]
fn the_manual_names_every_key() {
    assert_named(include_str!("../../../config/default.toml"), FIELDS);
}

fn assert_named(manual: &str, fields: &[Field]) {
    for field in fields {
        let key = field.name;
        let forms = [
            format!("\n{key} = "),
            format!("\n# {key} = "),
            format!("[{key}]"),
            format!("[{key}."),
            format!(".{key}]"),
        ];
        assert!(forms.iter().any(|form| manual.contains(form.as_str())), "{key}");
        match &field.kind {
            Kind::Section(fields) | Kind::List(fields) => assert_named(manual, fields),
            Kind::Map(entries) => {
                if let Kind::Section(fields) = &entries.item {
                    assert_named(manual, fields);
                }
            }
            _ => {}
        }
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "SERVER",
        "PORT",
        "DATABASE",
        "URL",
        "AUTH",
        "SIGNING_KEYS",
        "PROVIDERS",
        "OPENAI",
        "HEADERS",
        "MODELS",
        "BASE_URL",
        "CORS_ORIGINS",
        "LOG",
        "LEVEL",
        "K1",
        "maple-dev",
        "",
        "é",
        ".",
        "[0]",
    ]);
    prop_oneof![
        prop::collection::vec(parts, 0..5).prop_map(|parts| format!("MAPLE__{}", parts.join("__"))),
        prop::sample::select(vec![
            "PORT",
            "DATABASE_URL",
            "REDIS_URL",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "MAPLE_ENV"
        ])
        .prop_map(str::to_owned),
        ".*",
    ]
}

fn any_value() -> impl Strategy<Value = String> {
    let plausible = vec![
        "3000",
        "true",
        "production",
        "https://u:p@h/v1?x#y",
        "postgres://u:p@h/d",
        "redis://h",
        "[{}]",
        "5s",
        "*",
        "",
    ];
    prop_oneof![
        ".*",
        "(?s).{0,40}",
        prop::sample::select(plausible).prop_map(str::to_owned)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Neither loading nor showing panics, and a refusal is never empty.
    #[test]
    fn any_variables_load_or_are_refused(variables in prop::collection::vec((any_name(), any_value()), 0..6)) {
        let mut sources = with(&[]);
        sources.environment_variables = variables;
        match Effective::load(&sources) {
            Ok(effective) => prop_assert!(!effective.to_toml().is_empty() && effective.to_json().is_object()),
            Err(faults) => prop_assert!(faults.iter().count() > 0 && !lines(&faults).iter().any(|line| line.contains('\n'))),
        }
    }

    #[test]
    fn any_files_load_or_are_refused(own in any_value(), dotenv in "(?s).{0,80}") {
        let (_directory, sources) = files(&[("development.toml", &own), (".env.local", &dotenv)], &[]);
        if let Err(faults) = Config::load(&sources) {
            prop_assert!(faults.iter().count() > 0);
        }
    }

    /// A secret never shows, whatever is wrong with it or beside it.
    #[test]
    fn secrets_stay_secret(noise in "[ -~]{0,8}", fault in any::<bool>()) {
        let marked = format!("{noise}hunter2{noise}");
        let mut sources = with(&[]);
        for name in [
            "MAPLE__SERVER__OPS_TOKEN", "MAPLE__AUTH__SIGNING_KEYS__K1", "MAPLE__PROVIDERS__MAPLE_DEV__API_KEY",
            "MAPLE__PROVIDERS__MAPLE_DEV__HEADERS__X_KEY", "MAPLE__DATABASE__PASSWORD",
        ] {
            if fault || name != "MAPLE__DATABASE__PASSWORD" {
                sources.environment_variables.push((name.to_owned(), marked.clone()));
            }
        }
        sources.environment_variables.push(("DATABASE_URL".to_owned(), format!("postgres://maple:{marked}@db/maple")));
        sources.environment_variables.push(("REDIS_URL".to_owned(), format!("redis://:{marked}@cache")));
        let text = match Effective::load(&sources) {
            Ok(effective) => format!("{}{}", effective.to_toml(), effective.to_json()),
            Err(faults) => faults.to_string(),
        };
        prop_assert!(!text.contains("hunter2"), "{text}");
    }
}
