//! Whatever is set, it is loaded or refused, and secrets stay secret.

use proptest::prelude::*;

use super::{files, lines, with};
use crate::{Config, load::Effective};

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
