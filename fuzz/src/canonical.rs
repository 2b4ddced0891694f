//! One text for all ways to write the same JSON: it means what it was made of, and is its own canonical form.

use llm::canonical::{Member, canonical};
use serde_json::Value;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What it promises holds for valid JSON only; it reads the rest without a panic.
    let form = form_of(text.trim_matches([' ', '\t', '\r', '\n']));
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let Some(form) = form else { return };
    assert_eq!(serde_json::from_str::<Value>(&form).ok(), Some(value), "{form}");
    assert!(form.len() <= text.len());
    assert_eq!(form_of(&form), Some(form));
}

/// As that of a member is made.
fn form_of(value: &str) -> Option<String> {
    let member = Member { name: "\"v\"", value };
    let text = String::from_utf8(canonical(&[member], &[])?).expect("valid UTF-8 stays so");
    let form = text.strip_prefix("\"v\":").and_then(|text| text.strip_suffix(','));
    Some(form.expect("a member").to_owned())
}
