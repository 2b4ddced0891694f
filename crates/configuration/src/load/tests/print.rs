//! The effective configuration as it is shown.

use super::{SECRET, files, production};
use crate::load::Effective;

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
        "port = 3000                                      # built-in default.toml",
        "host = \"0.0.0.0\"                                 # built-in production.toml",
        "k1 = \"********\"                                  # MAPLE__AUTH__SIGNING_KEYS__K1",
        "total_timeout = \"10m\"                            # preset",
        "[providers.openai.headers]",
        "# upstream is not set",
    ] {
        assert!(toml.lines().any(|printed| printed == line), "{line}\n{toml}");
    }
    let url = toml.lines().find(|line| line.starts_with("url = \"postgres")).unwrap();
    assert!(
        url.starts_with("url = \"postgres://maple:********@db/mapleai?sslmode=verify-full\"")
            && url.ends_with("# DATABASE_URL"),
        "{url}"
    );
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
