//! The effective configuration for people and programs, with every secret masked.

use std::fmt::Write as _;

use config::Value;
use serde_json::{Value as Json, json};

use super::{
    Effective,
    check::Given,
    leaf,
    path::{Path, quoted_key},
    schema::Kind,
};

/// Comments start in this column where the value leaves room.
const COMMENT_COLUMN: usize = 48;

impl Effective {
    /// As TOML that could be read again but for its masks; the origin of each value stands behind it as a comment.
    pub fn to_toml(&self) -> String {
        let environment = self.config.environment.as_str();
        let mut text = format!("# The effective configuration in {environment}; secrets are masked.\n");
        let mut section = Path::default();
        for Given { path, kind, value } in self.given.iter().filter(|given| !given.kind.is_nested()) {
            let Some((parent, key)) = path.split() else { continue };
            if parent != section {
                _ = writeln!(text, "\n{}", parent.heading());
                section = parent;
            }
            let Some(value) = value else {
                _ = writeln!(text, "# {key} is not set");
                continue;
            };
            let shown = leaf::toml_value(&leaf::masked(*kind, &value.kind));
            let assignment = format!("{} = {shown}", quoted_key(key));
            // One line whatever a file is called.
            let origin = origin(value).replace(char::is_control, "?");
            _ = writeln!(text, "{assignment:<COMMENT_COLUMN$} # {origin}");
        }
        text
    }

    /// As one JSON object: the environment, the sections, and under `origins` where each value came from.
    pub fn to_json(&self) -> Json {
        let mut root = json!({ "environment": self.config.environment.as_str(), "origins": {} });
        for Given { path, kind, value } in &self.given {
            *path.json_entry(&mut root) = match (kind, value) {
                (_, None) => Json::Null,
                (Kind::Section(_) | Kind::Map(_), _) => json!({}),
                (Kind::List(_), _) => json!([]),
                (kind, Some(value)) => {
                    root["origins"][path.to_string()] = origin(value).into();
                    let shown = Value::new(None, leaf::masked(*kind, &value.kind));
                    shown.try_deserialize().unwrap_or_default()
                }
            };
        }
        root
    }
}

fn origin(value: &Value) -> &str {
    value.origin().unwrap_or("unknown")
}
