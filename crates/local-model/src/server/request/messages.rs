//! The messages of a request: their roles, and their text, whole or in parts.

use serde_json::Value;

use super::{refused, unsupported};
use crate::{
    engine::prompt::{Message, Role},
    server::error::RequestError,
};

pub(super) fn parse(value: &Value) -> Result<Vec<Message>, RequestError> {
    let allowed = || {
        refused(
            "messages",
            "messages must be a list of at least one message with role and content",
        )
    };
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(allowed)?;
    list.iter()
        .enumerate()
        .map(|(index, value)| message(index, value))
        .collect()
}

fn message(index: usize, value: &Value) -> Result<Message, RequestError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let role = match value["role"].as_str() {
        // OpenAI's later name for it.
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => {
            return Err(unsupported(
                at("role"),
                "this model does not support tools, so no message can be of one",
            ));
        }
        _ => return Err(refused(at("role"), "role must be system, developer, user or assistant")),
    };
    let content = match &value["content"] {
        Value::String(text) => text.clone(),
        Value::Null if role == Role::Assistant => String::new(),
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .map(|(part, value)| text_part(&at("content"), part, value))
            .collect::<Result<_, _>>()?,
        _ => return Err(refused(at("content"), "content must be a text or a list of text parts")),
    };
    Ok(Message { role, content })
}

fn text_part(path: &str, index: usize, part: &Value) -> Result<String, RequestError> {
    match (part["type"].as_str(), &part["text"]) {
        (Some("text"), Value::String(text)) => Ok(text.clone()),
        (Some(kind), _) if kind != "text" => Err(unsupported(
            format!("{path}[{index}]"),
            format!("this model reads text only, and no {kind}"),
        )),
        _ => Err(refused(
            format!("{path}[{index}]"),
            "a part must have the type \"text\" and a text",
        )),
    }
}
