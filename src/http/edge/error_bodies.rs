//! Every error code as callers get it, in the form of `/api` and in that of `/v1`: clients read both, so a change of either is to be seen.
//! How a change is reviewed is in CONTRIBUTING.md.

mod samples;

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use http_body_util::BodyExt as _;

use crate::{
    api_error::ApiError,
    http::render::{Dialect, render},
};

/// Status, headers and body, as they go out.
async fn wire(error: &ApiError, dialect: Dialect) -> String {
    let response = render(error, dialect, "[id]", None);
    let mut text = response.status().to_string();
    for (name, value) in response.headers() {
        write!(text, "; {name}: {}", value.to_str().unwrap()).unwrap();
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{text}\n{}\n", String::from_utf8_lossy(&body))
}

async fn bodies(dialect: Dialect) -> String {
    let mut errors = samples::all().await;
    // Those of one code stand together, in the order of the list.
    errors.sort_by_key(|error| error.code);
    let mut text = String::new();
    for error in errors {
        text += &wire(&error, dialect).await;
    }
    text
}

#[tokio::test]
async fn problems_are_these() {
    insta::assert_snapshot!("problems", bodies(Dialect::Problem).await);
}

#[tokio::test]
async fn openais_errors_are_these() {
    insta::assert_snapshot!("openai", bodies(Dialect::OpenAi).await);
}

/// A code that is added gets its sample.
#[tokio::test]
async fn every_code_of_the_source_has_a_sample() {
    let mut written = BTreeSet::new();
    codes_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut written);
    assert!(written.len() > 40, "{written:?}");
    let errors = samples::all().await;
    let sampled: BTreeSet<String> = errors.iter().map(|error| error.code.to_owned()).collect();
    assert_eq!(written, sampled);
}

/// The codes that are written in the source: in `new(StatusCode::…, "code"`, and in `code: "code"`.
fn codes_below(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes_below(&path, codes);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("error_bodies.rs") {
            let source = fs::read_to_string(&path).unwrap();
            for after in source.split("new(").skip(1) {
                let code = after.trim_start().strip_prefix("StatusCode::").and_then(|rest| {
                    let rest = rest.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
                    quoted(rest.strip_prefix(',')?.trim_start())
                });
                codes.extend(code.map(str::to_owned));
            }
            let named = [
                "\n                code: ",
                "\n            code: ",
                "COMPRESSED: &'static str = ",
            ];
            for start in named {
                codes.extend(source.split(start).skip(1).filter_map(quoted).map(str::to_owned));
            }
        }
    }
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.split('"').next()
}
