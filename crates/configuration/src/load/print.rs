//! The effective configuration for people and programs, with every secret masked.

use std::fmt::Write as _;

use config::{Value, ValueKind};

use super::{
    Effective, leaf,
    path::{Path, quoted_key, quoted_text},
    schema::{Field, Kind},
    tree::Table,
};

/// Comments start in this column where the value leaves room.
const COMMENT_COLUMN: usize = 48;

impl Effective {
    /// As TOML that could be read again but for its masks; the origin of each value stands behind it as a comment.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# The effective configuration in {}; secrets are masked.\n",
            self.config.environment.as_str()
        );
        section(&mut text, &Path::default(), crate::FIELDS, &self.tree);
        text
    }

    /// As one JSON object: the environment, the sections, and under `origins` where each value came from.
    pub fn to_json(&self) -> serde_json::Value {
        let mut origins = serde_json::Map::new();
        let mut root = json_section(&Path::default(), crate::FIELDS, &self.tree, &mut origins);
        root.insert("environment".to_owned(), self.config.environment.as_str().into());
        root.insert("origins".to_owned(), origins.into());
        root.into()
    }
}

fn sorted(table: &Table) -> Vec<(&String, &Value)> {
    let mut entries: Vec<(&String, &Value)> = table.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn section(text: &mut String, path: &Path, fields: &[Field], table: &Table) {
    // TOML wants a section's own values before the sections in it.
    for field in fields.iter().filter(|field| !is_nested(&field.kind)) {
        match table.get(field.name) {
            Some(value) => line(text, field.name, &field.kind, value),
            None => _ = writeln!(text, "# {} is not set", field.name),
        }
    }
    for field in fields.iter().filter(|field| is_nested(&field.kind)) {
        nested(text, &path.key(field.name), &field.kind, table.get(field.name));
    }
}

fn is_nested(kind: &Kind) -> bool {
    matches!(kind, Kind::Section(_) | Kind::Map(_) | Kind::List(_))
}

fn nested(text: &mut String, path: &Path, kind: &Kind, value: Option<&Value>) {
    match (kind, value.map(|value| &value.kind)) {
        (Kind::Section(fields), Some(ValueKind::Table(table))) => {
            _ = writeln!(text, "\n[{path}]");
            section(text, path, fields, table);
        }
        (Kind::Map(entries), Some(ValueKind::Table(table))) if is_nested(&entries.item) => {
            for (key, value) in sorted(table) {
                nested(text, &path.key(key), &entries.item, Some(value));
            }
        }
        (Kind::Map(entries), Some(ValueKind::Table(table))) if !table.is_empty() => {
            _ = writeln!(text, "\n[{path}]");
            for (key, value) in sorted(table) {
                line(text, key, &entries.item, value);
            }
        }
        (Kind::List(fields), Some(ValueKind::Array(items))) => {
            for item in items {
                if let ValueKind::Table(table) = &item.kind {
                    _ = writeln!(text, "\n[[{path}]]");
                    section(text, path, fields, table);
                }
            }
        }
        _ => {}
    }
}

fn line(text: &mut String, key: &str, kind: &Kind, value: &Value) {
    let assignment = format!("{} = {}", quoted_key(key), toml_value(&leaf::masked(kind, &value.kind)));
    // One line whatever a file is called.
    let origin = value.origin().unwrap_or("unknown").replace(char::is_control, "?");
    _ = writeln!(text, "{assignment:<COMMENT_COLUMN$} # {origin}");
}

fn toml_value(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => quoted_text(text),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| toml_value(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn json_section(path: &Path, fields: &[Field], table: &Table, origins: &mut Object) -> Object {
    fields
        .iter()
        .map(|field| {
            let value = table.get(field.name);
            let json = value.map_or(serde_json::Value::Null, |value| {
                json_value(&path.key(field.name), &field.kind, value, origins)
            });
            (field.name.to_owned(), json)
        })
        .collect()
}

fn json_value(path: &Path, kind: &Kind, value: &Value, origins: &mut Object) -> serde_json::Value {
    match (kind, &value.kind) {
        (Kind::Section(fields), ValueKind::Table(table)) => json_section(path, fields, table, origins).into(),
        (Kind::Map(entries), ValueKind::Table(table)) => {
            let entry = |(key, value): (&String, &Value)| {
                (key.clone(), json_value(&path.key(key), &entries.item, value, origins))
            };
            sorted(table).into_iter().map(entry).collect::<Object>().into()
        }
        (Kind::List(fields), ValueKind::Array(items)) => items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| match &item.kind {
                ValueKind::Table(table) => Some(json_section(&path.index(at), fields, table, origins)),
                _ => None,
            })
            .collect(),
        (kind, leaf_value) => {
            origins.insert(path.to_string(), value.origin().unwrap_or("unknown").into());
            json_leaf(&leaf::masked(kind, leaf_value))
        }
    }
}

fn json_leaf(value: &ValueKind) -> serde_json::Value {
    match value {
        ValueKind::Boolean(flag) => (*flag).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::Array(items) => items.iter().map(|item| json_leaf(&item.kind)).collect(),
        other => other.to_string().into(),
    }
}
