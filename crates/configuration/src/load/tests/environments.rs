//! What development needs, and what production cannot do without.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{faults, production, with};
use crate::{Config, Environment, ModelKind, ProviderKind};

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
    assert_eq!(config.server.body_timeout, Duration::from_secs(30));
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
fn outside_development_models_that_are_listed_need_a_price_or_a_word_that_they_are_free() {
    let provider = [
        ("MAPLE__PROVIDERS__OPENAI__KIND", "openai"),
        ("MAPLE__PROVIDERS__OPENAI__BASE_URL", "https://api.example/v1"),
        ("MAPLE__PROVIDERS__OPENAI__DISCOVER_MODELS", "true"),
    ];
    let input = ("MAPLE__PROVIDERS__OPENAI__DISCOVERED_INPUT_PRICE", "2.50");
    let output = ("MAPLE__PROVIDERS__OPENAI__DISCOVERED_OUTPUT_PRICE", "10.00");
    let free = ("MAPLE__PROVIDERS__OPENAI__DISCOVERED_FREE", "true");
    let faults_with = |more: &[(&'static str, &'static str)]| faults(&production(&[&provider[..], more].concat()));
    for priced in [&[free][..], &[input, output]] {
        assert_eq!(faults_with(priced), [] as [&str; 0], "{priced:?}");
    }
    for unpriced in [&[][..], &[input], &[output]] {
        let found = faults_with(unpriced);
        assert!(
            found.len() == 1 && found[0].contains("discovered_free = true"),
            "{found:?}"
        );
    }
    assert!(faults_with(&[input, output, free])[0].contains("must not be true beside"));
    assert_eq!(faults(&with(&provider)), [] as [&str; 0]);
}

#[test]
fn production_asks_the_database_to_prove_who_it_is() {
    let database = |url| faults(&production(&[("DATABASE_URL", url)]));
    for good in [
        "postgres://maple:hunter2@db/mapleai?sslmode=verify-full",
        "postgres://maple:hunter2@db/mapleai?sslmode=verify-full&sslrootcert=/run/ca.pem",
        "postgres://maple@127.0.0.1:6432/mapleai",
        "postgres://maple@[::1]/mapleai",
        "postgres://maple@localhost/mapleai",
        "postgres://%2Fvar%2Frun%2Fpostgresql/mapleai",
        "postgres:///mapleai?host=/var/run/postgresql",
    ] {
        assert_eq!(database(good), [] as [&str; 0], "{good}");
    }
    for bad in [
        "postgres://maple:hunter2@db/mapleai",
        "postgres://maple:hunter2@db/mapleai?sslmode=require",
        "postgres://maple:hunter2@db/mapleai?sslmode=verify-ca",
        "postgres://maple:hunter2@db/mapleai?sslmode=verify-full&sslmode=disable",
        "postgres://maple:hunter2@localhost.evil.example/mapleai",
        "postgres://maple:hunter2@localhost/mapleai?host=db",
        "postgres:///mapleai",
    ] {
        let found = database(bad);
        assert!(
            found.len() == 1 && found[0].starts_with("database.url"),
            "{bad}: {found:?}"
        );
        assert!(
            found[0].contains("verify-full") && !found[0].contains("hunter2"),
            "{found:?}"
        );
    }
    let allowed = [
        ("DATABASE_URL", "postgres://maple:hunter2@db/mapleai"),
        ("MAPLE__DATABASE__ALLOW_UNVERIFIED_TLS", "true"),
    ];
    assert_eq!(faults(&production(&allowed)), [] as [&str; 0]);
}

#[test]
fn a_stop_that_takes_longer_than_the_platform_waits_is_refused() {
    let grace = |grace, records| {
        with(&[
            ("MAPLE__SERVER__TERMINATION_GRACE", grace),
            ("MAPLE__USAGE__STOP_TIMEOUT", records),
        ])
    };
    // In development 5 s of draining.
    assert!(Config::load(&grace("47s", "10s")).is_ok());
    for (least, records, needed) in [("46s", "10s", "47s"), ("47s", "60s", "97s")] {
        let found = faults(&grace(least, records));
        assert!(
            found.len() == 1
                && found[0].contains(&format!(
                    "must be at least {needed}: drain_delay, drain_timeout, usage.stop_timeout"
                )),
            "{found:?}"
        );
    }
}

#[test]
fn a_local_model_is_for_development_and_needs_its_file() {
    let file = ("MAPLE__PROVIDERS__LOCAL__STATE_FILE", ".local/model-state.json");
    let kind = ("MAPLE__PROVIDERS__LOCAL__KIND", "local");
    let config = Config::load(&with(&[kind, file])).unwrap();
    let local = &config.providers["local"];
    assert_eq!(local.kind, ProviderKind::Local);
    assert_eq!(local.state_file.as_deref(), Some(std::path::Path::new(file.1)));
    assert_eq!(local.ready_timeout, Duration::from_secs(30));
    let refused = Config::load(&with(&[kind])).unwrap_err().to_string();
    assert!(refused.contains("providers.local.state_file"), "{refused}");
    let refused = Config::load(&production(&[kind, file])).unwrap_err().to_string();
    assert!(refused.contains("must be \"openai\" in production"), "{refused}");
}

#[test]
fn servers_on_this_machine_are_looked_for_in_development_alone_and_only_when_asked() {
    let look = |list| ("MAPLE__LOCAL__SERVERS", list);
    assert!(Config::load(&with(&[])).unwrap().local.servers.is_empty());
    let config = Config::load(&with(&[look("ollama=11500, lm-studio, vllm")])).unwrap();
    let found = config
        .local
        .servers
        .iter()
        .map(|server| (server.product.as_str(), server.port));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [("ollama", 11500), ("lm-studio", 1234), ("vllm", 8000)]
    );
    for (sources, reason) in [
        (production(&[look("ollama")]), "local.servers"),
        (with(&[look("ollama,ollama=11500")]), "each product once"),
        (with(&[look("jan")]), "ollama, lm-studio, llama-cpp or vllm"),
    ] {
        let refused = Config::load(&sources).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
