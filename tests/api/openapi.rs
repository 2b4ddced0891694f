//! The document tells the truth about the routes.

use std::collections::BTreeSet;

use mapleai::auth::access::Access;
use serde_json::{Value, json};

use crate::support::TestApp;

/// `METHOD path` of every operation in the document.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| !["parameters", "summary"].contains(&key.as_str()));
            methods.map(move |method| format!("{path} {}", method.to_uppercase()))
        })
        .collect()
}

#[tokio::test]
async fn every_route_that_is_no_page_is_documented_with_its_access() {
    let app = TestApp::start().await;
    let answer = app.client.get("/api/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.ok(200);
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1."),
        "{}",
        document["openapi"]
    );

    let mut documented = operations(&document);
    for route in app.server.edge().routes() {
        // A wildcard is a parameter to whoever reads the document.
        let path = route.path.replace("{*", "{");
        let name = format!("{path} {}", route.method);
        let below = |prefix: &str| route.path.starts_with(prefix);
        if !(below("/api/") || below("/v1/")) || &*route.path == "/api/docs" {
            assert!(!documented.contains(&name), "{name} is no part of the API");
            continue;
        }
        assert!(documented.remove(&name), "{name} is not documented");
        let operation = &document["paths"][&path][route.method.as_str().to_lowercase()];
        let expected = match route.access {
            Access::Open | Access::OpenForm => json!([]),
            Access::Probe => json!([{}, {"operations_token": []}]),
            Access::Session | Access::Page => json!([{"access_token": []}, {"session_cookie": []}]),
            Access::Program => json!([{"api_key": []}, {"access_token": []}]),
            Access::Operator => json!([{"operations_token": []}]),
        };
        assert_eq!(operation["security"], expected, "{name}");
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(
            responses.contains_key("401"),
            name == "/api/auth/login POST"
                || name == "/api/auth/refresh POST"
                || !matches!(route.access, Access::Open | Access::OpenForm | Access::Probe),
            "{name}"
        );
        assert!(responses.contains_key("503"), "{name}");
        assert_eq!(
            operation.get("requestBody").is_some(),
            responses.contains_key("415"),
            "{name}"
        );
        assert!(
            operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
            "{name}"
        );
    }
    assert!(documented.is_empty(), "documented and not there: {documented:?}");
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for scheme in ["access_token", "api_key", "operations_token", "session_cookie"] {
        assert!(schemes.contains_key(scheme), "{scheme}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let app = TestApp::start().await;
    let document = app.client.get("/api/openapi.json").await.ok(200);
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{reference} is elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.insert(reference.clone());
            }
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

/// What clients are generated from. How a change of it is reviewed is in CONTRIBUTING.md.
#[tokio::test]
async fn snapshot_of_the_document() {
    let app = TestApp::start().await;
    let mut document = app.client.get("/api/openapi.json").await.ok(200);
    // Changes with every release, and with nothing that is described here.
    document["info"]["version"] = json!("[version]");
    insta::assert_json_snapshot!("document", document);
}
