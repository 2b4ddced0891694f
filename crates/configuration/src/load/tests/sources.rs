//! Which source has the last word.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{SECRET, faults, files, production, with};
use crate::{Config, load::Effective};

#[test]
fn later_sources_win_key_by_key() {
    let default = include_str!("../../../../../config/default.toml");
    let own = format!(
        "{}\n[redis]\nurl = \"redis://own\"\n",
        include_str!("../../../../../config/development.toml")
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
fn empty_variables_make_no_entry_but_are_wrong_in_one_that_is_there() {
    let kind = "MAPLE__PROVIDERS__LOCAL__KIND";
    let state_file = "MAPLE__PROVIDERS__LOCAL__STATE_FILE";
    let header = "MAPLE__PROVIDERS__LOCAL__HEADERS__X_TEAM";
    let config = Config::load(&with(&[(kind, ""), (state_file, ""), (header, "")])).unwrap();
    assert!(!config.providers.contains_key("local"));
    let config = Config::load(&with(&[(kind, "local"), (state_file, "/run/state.json"), (header, "")])).unwrap();
    assert!(config.providers["local"].state_file.is_some());
    for (variables, key) in [
        ([(kind, ""), (state_file, "/run/state.json")], "providers.local.kind"),
        ([(kind, "local"), (state_file, "")], "providers.local.state_file"),
        (
            [("MAPLE__PROVIDERS__MAPLE_DEV__KIND", ""), (kind, "")],
            "providers.maple-dev.kind",
        ),
        // The value is the entry here: a secret that came out empty is no secret that is absent.
        (
            [("MAPLE__AUTH__SIGNING_KEYS__K1", ""), (kind, "")],
            "auth.signing_keys.k1",
        ),
        // A name that is wrong is so without a value too.
        (
            [("MAPLE__PROVIDERS__LOCAL__KINDS", ""), (kind, "")],
            "providers.local.kinds",
        ),
    ] {
        let found = faults(&with(&variables));
        assert!(found.len() == 1 && found[0].starts_with(key), "{key}: {found:?}");
    }
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
fn a_cluster_is_named_by_several_servers_and_an_authority_by_a_path() {
    let named = |urls: &str| {
        Config::load(&with(&[
            ("REDIS_URL", urls),
            ("MAPLE__REDIS__MODE", "cluster"),
            ("MAPLE__REDIS__CA_FILE", "/etc/ca.pem"),
        ]))
    };
    let urls = "rediss://:hunter2@one:6379,rediss://:hunter2@two:6379";
    let redis = named(urls).unwrap().redis;
    assert_eq!(redis.url.unwrap().expose_secret(), urls);
    assert_eq!(redis.ca_file.unwrap().to_str(), Some("/etc/ca.pem"));
    for urls in [
        "rediss://one:6379,redis://two:6379",
        "rediss://one:6379,",
        "rediss://one:port,rediss://two",
    ] {
        assert!(named(urls).is_err(), "{urls}");
    }
    let sources = with(&[("REDIS_URL", urls), ("MAPLE__REDIS__MODE", "cluster")]);
    let shown = Effective::load(&sources).unwrap().to_toml();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_is_in_a_file_stands_for_a_variable_and_wins() {
    let (directory, mut sources) = files(&[("url", "redis://file\n"), ("empty", "\n")], &[]);
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut set = |name: &str, value: String| sources.environment_variables.push((name.to_owned(), value));
    set("MAPLE__REDIS__URL_FILE", path("url"));
    set("MAPLE__REDIS__URL", "redis://variable".to_owned());
    set("REDIS_URL", "redis://plain".to_owned());
    set("DATABASE_URL", "postgres://db/x".to_owned());
    set("MAPLE__AUTH__ACTIVE_KEY", "development".to_owned());
    set("MAPLE__AUTH__SIGNING_KEYS__DEVELOPMENT", SECRET.to_owned());
    let effective = Effective::load(&sources).unwrap();
    assert_eq!(
        effective.config.redis.url.as_ref().unwrap().expose_secret(),
        "redis://file"
    );
    assert_eq!(
        effective.to_json()["origins"]["redis.url"],
        format!("MAPLE__REDIS__URL_FILE ({})", path("url"))
    );
    assert_eq!(sources.secret_files(), [directory.path().join("url")]);
    sources.environment_variables.retain(|(name, _)| name != "REDIS_URL");
    for (name, problem) in [
        ("empty", "must not be empty"),
        ("absent", "cannot be read: No such file or directory (os error 2)"),
    ] {
        sources.environment_variables[0].1 = path(name);
        let expected = format!("MAPLE__REDIS__URL_FILE: \"{name}\" {problem}");
        assert_eq!(faults(&sources), [expected]);
    }
}
