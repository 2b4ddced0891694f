//! The texts that the development model makes, and the pieces that they come in.

use serde_json::{Value, json};

use crate::mock::hash;

/// Arguments that fit a function's JSON schema loosely: a value of the right type for each required property.
pub(super) fn arguments(parameters: &Value) -> String {
    let required = parameters["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let value = |name: &str| match parameters["properties"][name]["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("Ottawa"),
    };
    Value::Object(required.map(|name| (name.to_owned(), value(name))).collect()).to_string()
}

/// Words with the space before them: about what a tokeniser makes of English.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if c.is_whitespace() && !piece.trim_end().is_empty() {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// `invites` to connect a real model at its end.
pub(super) fn prose(question: &str, exchanges: usize, invites: bool) -> String {
    let quoted: String = question.chars().take(200).collect::<String>().replace('\n', " ");
    let opening = match hash(question) % 3 {
        0 => "Good question.",
        1 => "Let me think about that.",
        _ => "Here is what I can say.",
    };
    let mut text = format!(
        "{opening} You wrote:\n\n> {quoted}\n\nI am **maple-dev**, the built-in development model, so I know nothing about the \
         world. I am here so that everything else can be tried:\n\n\
         1. answers arrive word by word, as from a real model;\n\
         2. *Markdown* is rendered, with `code`, lists and tables;\n\
         3. the same question always gets the same answer.\n"
    );
    let folded = question.to_lowercase();
    if folded.contains("code") || folded.contains("rust") || hash(question).is_multiple_of(2) {
        text.push_str(
            "\nA little code, since that is what people look at first:\n\n```rust\nfn main() {\n    \
             let leaves = [\"red\", \"gold\", \"green\"];\n    for leaf in leaves {\n        println!(\"a {leaf} leaf\");\n    }\n}\n```\n",
        );
    } else {
        text.push_str("\n| leaf | season |\n|---|---|\n| green | summer |\n| red | autumn |\n");
    }
    if exchanges > 1 {
        text.push_str("\nThis conversation has ");
        text.push_str(&exchanges.to_string());
        text.push_str(" messages so far, and I was given all of them.\n");
    }
    if invites {
        text.push_str("\nSet `OPENAI_API_KEY` or `OPENAI_BASE_URL` to talk to a real model.");
    }
    text
}
