//! The real binary, as an operator runs it: what it says, where, and with which exit code.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::{
    fs,
    process::{Command, Output},
};

use tempfile::TempDir;

const SECRET: &str = "hunter2-hunter2-hunter2-hunter2-hunter2";

/// Runs the binary in a directory of its own with these variables and no others.
fn mapleai(directory: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .args(arguments)
        .current_dir(directory.path())
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn config_runs_from_anywhere_and_tells_what_is_in_effect() {
    let directory = directory();
    let output = mapleai(&directory, &["config"], &[]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let text = stdout(&output);
    assert!(text.contains("\nport = 3000 "), "{text}");
    assert!(text.contains("# built-in development.toml"), "{text}");
}

#[test]
fn config_reads_its_directory_the_dotenv_file_and_variables() {
    let directory = directory();
    fs::create_dir(directory.path().join("config")).unwrap();
    fs::write(
        directory.path().join("config/development.toml"),
        development("[usage]\nbatch_size = 7\n"),
    )
    .unwrap();
    fs::write(
        directory.path().join(".env.local"),
        "MAPLE__SERVER__BODY_LIMIT=2048\nPORT=4001\n",
    )
    .unwrap();
    let output = mapleai(&directory, &["config", "--json"], &[("PORT", "4002")]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["environment"], "development");
    assert_eq!(config["usage"]["batch_size"], 7);
    assert_eq!(config["origins"]["usage.batch_size"], "config/development.toml");
    assert_eq!(config["server"]["body_limit"], 2048);
    assert_eq!(
        config["origins"]["server.body_limit"],
        ".env.local: MAPLE__SERVER__BODY_LIMIT"
    );
    assert_eq!(config["server"]["port"], 4002);
    assert_eq!(config["origins"]["server.port"], "PORT");
}

/// What development needs of its own file, and more.
fn development(more: &str) -> String {
    format!("[database]\nurl = \"postgres://db/x\"\n[auth]\nactive_key = \"k\"\nsigning_keys.k = \"{SECRET}\"\n{more}")
}

#[test]
fn secrets_are_masked_in_both_forms() {
    let directory = directory();
    let url = format!("postgres://maple:{SECRET}@db/mapleai?sslmode=verify-full");
    let variables = [
        ("MAPLE_ENV", "production"),
        ("DATABASE_URL", url.as_str()),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.example"),
        ("MAPLE__SERVER__OPS_TOKEN", SECRET),
        ("MAPLE__AUTH__SIGNING_KEYS__K1", SECRET),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
    ];
    for arguments in [&["config"][..], &["config", "--json"]] {
        let output = mapleai(&directory, arguments, &variables);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        let text = stdout(&output);
        assert!(
            text.contains("postgres://maple:********@db/mapleai?sslmode=verify-full"),
            "{text}"
        );
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn faults_are_told_at_once_and_nothing_starts() {
    let directory = directory();
    let variables = [
        ("PORT", "http"),
        ("MAPLE__SERVER__OPS_TOKEN", "hunter2 hunter2"),
        ("MAPLE__LOG__LEVEL", "loud"),
        ("MAPLE__DATABSE__URL", "postgres://maple:hunter2@db/mapleai"),
    ];
    for arguments in [&[][..], &["serve"], &["migrate"], &["seed"], &["config"]] {
        let output = mapleai(&directory, arguments, &variables);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(text.starts_with("mapleai: the configuration has 4 faults:\n"), "{text}");
        for line in [
            "  databse (from MAPLE__DATABSE__URL): unknown key; did you mean database? Allowed are ",
            "  log.level = \"loud\" (from MAPLE__LOG__LEVEL): must be ",
            "  server.ops_token (from MAPLE__SERVER__OPS_TOKEN): must be ",
            "  server.port = \"http\" (from PORT): must be a whole number from 0 to 65535",
        ] {
            assert!(text.lines().any(|told| told.starts_with(line)), "{line}\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn production_refuses_what_is_for_development() {
    let directory = directory();
    fs::create_dir(directory.path().join("config")).unwrap();
    let file = include_str!("../config/development.toml");
    for environment in ["staging", "production"] {
        fs::write(directory.path().join(format!("config/{environment}.toml")), file).unwrap();
        let output = mapleai(
            &directory,
            &["serve"],
            &[
                ("MAPLE_ENV", environment),
                ("MAPLE__SERVER__PUBLIC_URL", "http://maple.example"),
            ],
        );
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        for key in [
            "auth.signing_keys.development (",
            "database.migrate_on_start = true",
            "providers.maple-dev.kind = \"mock\"",
        ] {
            assert!(text.contains(key), "{environment}: {key}\n{text}");
        }
        assert_eq!(
            text.contains("server.public_url ="),
            environment == "production",
            "{text}"
        );
        assert_eq!(text.contains("log.level ="), environment == "production", "{text}");
    }
}

#[test]
fn wrong_arguments_are_told_with_the_same_code() {
    let output = mapleai(&directory(), &["serv"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("serve"), "{}", stderr(&output));
    let version = mapleai(&directory(), &["--version"], &[]);
    assert_eq!(
        (version.status.code(), stdout(&version)),
        (Some(0), format!("mapleai {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn the_checklist_wants_evidence_of_this_commit_by_what_shows_it() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let directory = directory();
    let folder = directory.path().join(".local/evidence").join(COMMIT);
    fs::create_dir_all(&folder).unwrap();
    let write = |item: &str, by: &str| {
        let text = format!(
            r#"{{"item":"{item}","commit":"{COMMIT}","outcome":"passed","by":"{by}","detail":"","at":"2026-01-01T00:00:00Z"}}"#
        );
        fs::write(folder.join(item).with_extension("json"), text).unwrap();
    };
    let during = |arguments: &[&str]| {
        let mut all = vec!["checklist", "during"];
        all.extend_from_slice(arguments);
        mapleai(&directory, &all, &[])
    };

    let output = during(&["--commit", COMMIT]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("3 of 3 items have not been shown: staging, smoke, traffic"),
        "{}",
        stderr(&output)
    );

    write("staging", "make deploy ENVIRONMENT=staging");
    write("traffic", "make deploy ENVIRONMENT=production");
    write("smoke", "Ada Lovelace");
    let output = during(&["--commit", COMMIT, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["items"][1]["shown"], false);
    assert_eq!(
        told["items"][1]["detail"],
        "the evidence is by \"Ada Lovelace\"; shown by: make smoke"
    );

    write("smoke", "make smoke");
    let output = during(&["--commit", COMMIT]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));

    let output = during(&["--commit", "main"]);
    assert!(stderr(&output).contains("40 hexadecimal digits"), "{}", stderr(&output));
    let output = during(&[]);
    assert!(
        stderr(&output).contains("the checkout's commit is unknown; say --commit"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn smoke_refuses_what_is_no_address_and_needs_no_configuration() {
    let directory = directory();
    for arguments in [
        &["smoke"][..],
        &["smoke", "maple.example"],
        &["smoke", "http://a", "b"],
        &["smoke", "http://user:word@a"],
        &["smoke", "http://a", "--timeout", "soon"],
    ] {
        let output = mapleai(&directory, arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    let nothing_there = mapleai(
        &directory,
        &["smoke", "http://127.0.0.1:9", "--timeout", "1"],
        &[("PORT", "http")],
    );
    assert_eq!(nothing_there.status.code(), Some(1));
    assert!(
        stdout(&nothing_there).contains("FAIL liveness: "),
        "{}",
        stdout(&nothing_there)
    );
    assert!(
        stderr(&nothing_there).ends_with("is not well: 1 failed\n"),
        "{}",
        stderr(&nothing_there)
    );
}
