//! Which way data flows. One package means that the compiler does not hold the layers apart, so this does:
//!
//! ```text
//! cli -> app -> { http, web } -> auth -> failure -> service -> { store, provider } -> { domain, crypto }
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each module may name of the others. `config` stands for its sections: the whole is in [`MAY_SEE_ALL_CONFIG`].
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli", "app", "config", "telemetry", "lifecycle"]),
    (
        "cli",
        &[
            "app",
            "config",
            "store",
            "telemetry",
            "lifecycle",
            "service",
            "provider",
            "domain",
            "crypto",
        ],
    ),
    (
        "app",
        &[
            "auth",
            "cache",
            "config",
            "crypto",
            "domain",
            "http",
            "lifecycle",
            "provider",
            "service",
            "state",
            "store",
            "task",
            "telemetry",
            "write_coalescing",
            "web",
        ],
    ),
    ("state", &["http", "service", "web", "store", "telemetry"]),
    (
        "http",
        &[
            "memory",
            "auth",
            "config",
            "deadline",
            "domain",
            "failure",
            "provider",
            "service",
            "state",
            "store",
            "telemetry",
            "web",
        ],
    ),
    (
        "web",
        &[
            "auth", "config", "crypto", "domain", "failure", "http", "service", "state",
        ],
    ),
    ("auth", &["config", "crypto", "domain", "failure", "service"]),
    (
        "failure",
        &["crypto", "domain", "memory", "provider", "service", "store"],
    ),
    ("task", &["service", "telemetry"]),
    (
        "service",
        &[
            "memory",
            "cache",
            "config",
            "crypto",
            "domain",
            "fair_queue",
            "provider",
            "store",
            "telemetry",
            "write_coalescing",
        ],
    ),
    ("cache", &["config", "domain", "crypto", "telemetry"]),
    ("store", &["config", "domain", "crypto", "telemetry"]),
    (
        "provider",
        &["config", "deadline", "domain", "crypto", "memory", "write_coalescing"],
    ),
    ("memory", &["telemetry"]),
    ("deadline", &[]),
    ("fair_queue", &[]),
    ("write_coalescing", &[]),
    ("lifecycle", &[]),
    ("telemetry", &["config"]),
    ("config", &["domain"]),
    ("crypto", &["domain", "fair_queue"]),
    ("domain", &[]),
];

/// Crates that stand for a layer's job, and the layers that do it.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "app", "cli"]),
    ("axum", &["http", "web", "auth", "app", "state"]),
    ("deadpool_redis", &["cache", "app"]),
];

/// Who may name `config::Config`, rather than the section of its own.
const MAY_SEE_ALL_CONFIG: &[&str] = &["app", "cli", "config", "main"];

/// `http::health` asks the store itself, and nothing else of the edge may.
const EDGE_MAY_USE_STORE: &str = "http/health.rs";

/// What is wrong with one file. `path` is relative to `src`, with `/`.
fn faults_of(path: &str, source: &str) -> Vec<String> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{path}: {what}"));
    if path.ends_with("/mod.rs") || path == "mod.rs" {
        fault("`foo.rs` beside `foo/`, not `mod.rs`".to_owned());
    }
    let code = code_of(source);
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        if path != "lib.rs" {
            fault(format!(
                "`{module}` has no place in the flow; give it one in tests/architecture.rs"
            ));
        }
        return faults;
    };
    for (used, rest) in crate_paths(&code) {
        if used != module && !allowed.contains(&used.as_str()) {
            fault(format!("`{module}` must not use `crate::{used}`"));
        }
        if used == "config" && rest.iter().any(|name| name == "Config") && !MAY_SEE_ALL_CONFIG.contains(&module) {
            fault("names the whole `Config` instead of its own section".to_owned());
        }
        if used == "store" && module == "http" && path != EDGE_MAY_USE_STORE {
            fault("the edge must not use the store".to_owned());
        }
    }
    for (library, layers) in MAY_NAME {
        let inside = module == "main" || layers.contains(&module);
        if !inside && words_before_path(&code).contains(*library) {
            fault(format!("`{library}` belongs to {}", layers.join(", ")));
        }
    }
    if code.contains("tokio::spawn(") || code.contains("task::spawn(") {
        fault("a bare `tokio::spawn`: nobody waits for it; use a `TaskTracker` of the lifecycle".to_owned());
    }
    faults
}

/// The source without comments, strings and unit tests.
fn code_of(source: &str) -> String {
    // Not at `mod tests;`, which may stand at the top of a file, before all of its code.
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut code = String::with_capacity(source.len());
    for line in source.lines() {
        let mut in_string = false;
        let mut previous = ' ';
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            if !in_string && character == '/' && characters.peek() == Some(&'/') {
                break;
            }
            // The quote as a character literal (`'"'`) opens no string.
            if character == '"' && previous != '\\' && !(previous == '\'' && characters.peek() == Some(&'\'')) {
                in_string = !in_string;
            } else if !in_string {
                code.push(character);
            }
            previous = character;
        }
        code.push('\n');
    }
    code
}

/// Each `crate::a::...`: the module, and every name that follows in the same path or braces.
fn crate_paths(code: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        found.extend(heads(&code[at + "crate::".len()..]));
    }
    found
}

/// The modules that a path, or a group of paths in braces, starts with.
fn heads(text: &str) -> Vec<(String, Vec<String>)> {
    if let Some(group) = text.strip_prefix('{') {
        let mut parts = vec![String::new()];
        let mut depth = 0;
        for character in group.chars() {
            match character {
                '}' if depth == 0 => break,
                ',' if depth == 0 => {
                    parts.push(String::new());
                    continue;
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            parts.last_mut().expect("never empty").push(character);
        }
        return parts
            .iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty())
            .flat_map(heads)
            .collect();
    }
    let end = path_end(text);
    let names: Vec<String> = text[..end]
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    match names.split_first() {
        Some((head, rest)) => vec![(head.clone(), rest.to_vec())],
        None => Vec::new(),
    }
}

/// Where a path ends, with the braces that belong to it.
fn path_end(text: &str) -> usize {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' if depth > 0 || text[..at].ends_with("::") => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ if depth > 0 => {}
            ':' | '_' => {}
            _ if character.is_alphanumeric() => {}
            _ => return at,
        }
    }
    text.len()
}

/// Every name that starts a path: `name::...`, or `use name;`.
fn words_before_path(code: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let paths = code.match_indices("::").filter_map(|(at, _)| {
        let before = &code[..at];
        let start = before.rfind(|c| !is_word(c)).map_or(0, |place| place + 1);
        (!before[..start].ends_with("::") && start < at).then(|| &before[start..])
    });
    let whole = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("use ")?.strip_suffix(';'));
    paths.chain(whole).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_module_keeps_to_the_flow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(
        files.len() > 50,
        "only {} files found in {}",
        files.len(),
        root.display()
    );
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            faults_of(&path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn store_and_provider_stay_apart() {
    let of = |name: &str| MAY_USE.iter().find(|(module, _)| *module == name).unwrap().1;
    assert!(!of("store").contains(&"provider") && !of("provider").contains(&"store"));
    assert!(of("task").iter().all(|used| ["service", "telemetry"].contains(used)));
    assert!(of("domain").is_empty());
}

#[test]
fn the_checker_finds_what_it_looks_for() {
    let found = |path: &str, source: &str| faults_of(path, source).join("\n");
    for (path, source, fault) in [
        (
            "store/accounts.rs",
            "use crate::provider::Registry;",
            "`store` must not use `crate::provider`",
        ),
        (
            "provider/openai.rs",
            "use crate::{\n    domain::ids::UserId,\n    store::Database,\n};",
            "must not use `crate::store`",
        ),
        (
            "service/accounts.rs",
            "fn f() { crate::http::router::build(); }",
            "`service` must not use `crate::http`",
        ),
        (
            "service/a.rs",
            "pub(crate) use crate::{config::{AuthConfig, Config}};",
            "whole `Config`",
        ),
        (
            "domain/ids.rs",
            "use crate::crypto::secret;",
            "`domain` must not use `crate::crypto`",
        ),
        (
            "task/sweep.rs",
            "use crate::store::Database;",
            "`task` must not use `crate::store`",
        ),
        (
            "http/usage.rs",
            "use crate::store::Database;",
            "the edge must not use the store",
        ),
        (
            "service/usage.rs",
            "use sqlx::PgPool;",
            "`sqlx` belongs to store, app, cli",
        ),
        (
            "service/usage.rs",
            "async fn f(pool: &sqlx::PgPool) {}",
            "`sqlx` belongs to",
        ),
        ("domain/ids.rs", "use axum::Json;", "`axum` belongs to"),
        ("http/mod.rs", "", "not `mod.rs`"),
        (
            "service/answers.rs",
            "fn f() { tokio::spawn(async {}); }",
            "bare `tokio::spawn`",
        ),
        (
            "cache/cached.rs",
            "mod memory;\n#[cfg(test)]\nmod tests;\n\nuse crate::service::Services;",
            "`cache` must not use `crate::service`",
        ),
        ("helpers.rs", "", "no place in the flow"),
    ] {
        assert!(
            found(path, source).contains(fault),
            "{path}: {source}\nfound: {:?}",
            found(path, source)
        );
    }
    for (path, source) in [
        (
            "store/accounts.rs",
            "// crate::provider, in words\nuse crate::{config::DatabaseConfig, domain::ids::UserId};",
        ),
        ("service/accounts.rs", "fn f() { info!(\"crate::http and sqlx::x\"); }"),
        ("http/health.rs", "use crate::store::Database;"),
        ("app/build.rs", "use crate::{config::Config, store::Store};"),
        (
            "domain/ids.rs",
            "struct A;\n#[cfg(test)]\nmod tests { use crate::service::Services; }",
        ),
    ] {
        assert_eq!(found(path, source), "", "{path}");
    }
}
