//! What files may get wrong, and all faults at once.

use super::{SECRET, faults, files, production};

#[test]
fn what_files_may_get_wrong() {
    let table: &[(&str, &[&str])] = &[
        (
            "[server]\nport = \"3000\"",
            &["server.port = \"3000\" (from development.toml): must be a whole number from 0 to 65535"],
        ),
        (
            "[providers.p]\nkind = \"mock\"\nhttp2 = \"always\"\nmax_connections = 0\nproxy = \"socks5://maple:hunter2@proxy:1080\"",
            &[
                "providers.p.http2 = \"always\" (from development.toml): must be one of \"auto\", \"off\", \"prior_knowledge\"",
                "providers.p.max_connections = 0 (from development.toml): must be a whole number from 1 to 65535",
                "providers.p.proxy (from development.toml): must be \"none\", or the http:// or https:// URL of a proxy, such as \"http://proxy.example:3128\"",
            ],
        ),
        ("server = 3", &["server = 3 (from development.toml): must be a section"]),
        // What is in a list may hold a secret.
        (
            "[server]\npublic_url = [\"https://u:hunter2@h\", { k = \"hunter2\" }]",
            &["server.public_url = [] (from development.toml): must be an origin such as \"https://maple.example\""],
        ),
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
                "models[0].secret (from development.toml): unknown key; allowed are id, provider, kind, upstream, name, input_price, cached_input_price, output_price, cache",
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
                "\"models[999999999]\" (from development.toml): unknown key; did you mean models? Allowed are server, database, migrations, redis, cache, auth, admission, limits, usage, retention, log, traces, local, providers, models",
            ],
        ),
        (
            "\"server.port\" = 1",
            &[
                "\"server.port\" (from development.toml): unknown key; did you mean server? Allowed are server, database, migrations, redis, cache, auth, admission, limits, usage, retention, log, traces, local, providers, models",
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
