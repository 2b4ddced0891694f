//! Variables, of the process or of `.env.local`, as a layer of configuration.
//!
//! `MAPLE__SECTION__KEY` sets any key, in tables of the operator's own naming too: an entry is found whatever its case and
//! whether it has `-` or `_`. An empty variable takes back an optional value and makes no entry. A few names that platforms and
//! people use already stand for single keys.

use std::collections::BTreeMap;

use config::{FileFormat, Format, Value, ValueKind};

use super::{
    faults::Faults,
    leaf,
    path::Path,
    schema::{Field, Kind, Presence},
    secret_files::Given,
    tree::{self, Layer, Table},
};
use crate::Environment;

const PREFIX: &str = "MAPLE__";

/// Plain name, key, and whether it counts in development only: a key to a provider that happens to be in the environment
/// must not open that provider to a whole organisation.
const PLAIN: [(&str, &[&str], bool); 5] = [
    ("DATABASE_URL", &["database", "url"], false),
    ("REDIS_URL", &["redis", "url"], false),
    ("PORT", &["server", "port"], false),
    ("OPENAI_BASE_URL", &["providers", "openai", "base_url"], true),
    ("OPENAI_API_KEY", &["providers", "openai", "api_key"], true),
];

/// The plain name of a key that has one and counts everywhere.
pub(super) fn plain_name(path: &Path) -> Option<&'static str> {
    PLAIN
        .iter()
        .find(|(_, keys, _)| keys.iter().collect::<Path>() == *path)
        .map(|(name, ..)| *name)
}

/// One set of variables.
pub(super) struct Variables<'v> {
    pub(super) given: &'v Given,
    pub(super) environment: Environment,
    /// How a variable is named as the origin of a value.
    pub(super) origin: fn(&str) -> String,
}

impl Variables<'_> {
    /// Their values, for what `below` (the sources before) and `fields` (the schema) say about their names.
    pub(super) fn layer(&self, fields: &'static [Field], below: &Table, faults: &mut Faults) -> Layer {
        // By name, the last one of a name winning.
        let by_name: BTreeMap<&str, &str> = self
            .given
            .pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // What is in a file wins, whichever of a key's names it goes by.
        let (from_files, plain): (Vec<_>, Vec<_>) = by_name
            .into_iter()
            .partition(|(name, _)| self.given.files.contains_key(*name));
        let (empty, plain): (Vec<_>, Vec<_>) = plain.into_iter().partition(|(_, text)| text.is_empty());
        let mut set_by: BTreeMap<Vec<String>, (&str, &str)> = BTreeMap::new();
        let mut layer = Table::new();
        for (name, text) in from_files.into_iter().chain(plain).chain(empty) {
            let Some((keys, field)) = self.target(name, text, fields, below, faults) else {
                continue;
            };
            // `compose.yaml` and charts pass on what they do not have as empty: that makes no provider.
            let is_known = |table: &Table| {
                field
                    .entry
                    .is_none_or(|length| tree::get(table, &keys[..length]).is_some())
            };
            if text.is_empty() && !is_known(below) && !is_known(&layer) {
                continue;
            }
            let origin = self.origin_of(name);
            if text.contains(char::REPLACEMENT_CHARACTER) {
                faults.at(keys.iter().collect(), None, Some(&origin), "must be valid UTF-8");
                continue;
            }
            if let Some((other, other_text)) = set_by.get(&keys) {
                let wins = self.given.files.contains_key(*other) && !self.given.files.contains_key(name);
                if *other_text != text && !wins {
                    let problem = format!("{other} and {name} are both set and differ; set one of them");
                    faults.at(keys.iter().collect(), None, None, problem);
                }
                continue;
            }
            if let Some(value) = value(&keys, field, text, &origin, faults) {
                tree::set(&mut layer, &keys, value);
            }
            set_by.insert(keys, (name, text));
        }
        Layer(layer)
    }

    fn origin_of(&self, name: &str) -> String {
        match self.given.files.get(name) {
            Some(path) => format!("{}_FILE ({path})", (self.origin)(name)),
            None => (self.origin)(name),
        }
    }

    /// The key a variable sets; nothing if it is not ours.
    fn target(
        &self,
        name: &str,
        text: &str,
        fields: &'static [Field],
        below: &Table,
        faults: &mut Faults,
    ) -> Option<(Vec<String>, FieldTarget)> {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            let parts: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
            return resolve(&parts, fields, below, &self.origin_of(name), faults);
        }
        let (_, keys, development_only) = PLAIN.iter().find(|(plain, ..)| *plain == name)?;
        // Scripts pass on variables they do not have as empty ones.
        if text.is_empty() || (*development_only && !self.environment.is_development()) {
            return None;
        }
        let parts: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        resolve(&parts, fields, below, &self.origin_of(name), faults)
    }
}

/// A variable's text in the form that a file would have given it.
fn value(keys: &[String], target: FieldTarget, text: &str, origin: &str, faults: &mut Faults) -> Option<Value> {
    let origin = origin.to_owned();
    let kind = match target.kind {
        kind if kind.is_comma_separated() => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            ValueKind::Array(items.map(|item| Value::new(Some(&origin), item)).collect())
        }
        Kind::List(_) => {
            let parsed = FileFormat::Toml.parse(Some(&origin), &format!("value = {text}"));
            let list = parsed
                .ok()
                .filter(|table| table.len() == 1)
                .and_then(|mut table| table.remove("value"));
            if list.is_none() {
                let problem = "must be a TOML list of tables on one line, such as [{ id = \"...\", ... }]";
                faults.at(keys.iter().collect(), None, Some(&origin), problem);
            }
            return list;
        }
        // Takes back what a file has set.
        _ if text.is_empty() && target.may_be_absent => ValueKind::Nil,
        Kind::Number { .. } => text
            .parse::<i64>()
            .map_or_else(|_| ValueKind::from(text), ValueKind::from),
        Kind::Flag => text
            .parse::<bool>()
            .map_or_else(|_| ValueKind::from(text), ValueKind::from),
        _ => ValueKind::from(text),
    };
    Some(Value::new(Some(&origin), kind))
}

#[derive(Clone, Copy)]
struct FieldTarget {
    kind: &'static Kind,
    may_be_absent: bool,
    /// Length of the path to the entry that has this key, in a table of the operator's own naming; the outermost one.
    entry: Option<usize>,
}

/// Follows the lower-cased parts of a name through the schema.
fn resolve(
    parts: &[String],
    fields: &'static [Field],
    below: &Table,
    origin: &str,
    faults: &mut Faults,
) -> Option<(Vec<String>, FieldTarget)> {
    let mut keys: Vec<String> = Vec::new();
    let mut target: Option<FieldTarget> = None;
    let mut level: Option<&'static Kind> = None;
    let mut entry = None;
    for part in parts {
        let siblings = match level {
            None => fields,
            Some(Kind::Section(fields)) => fields,
            Some(Kind::Map(entries)) => {
                let existing = (!keys.is_empty()).then(|| tree::get(below, &keys)).flatten();
                let key = existing_key(existing, part).unwrap_or_else(|| (entries.from_variable)(part.clone()));
                keys.push(key);
                level = Some(&entries.item);
                target = Some(FieldTarget {
                    kind: &entries.item,
                    may_be_absent: false,
                    entry,
                });
                entry = entry.or(Some(keys.len()));
                continue;
            }
            Some(_) => {
                let problem = format!("unknown key; {} is a single value", keys.iter().collect::<Path>());
                faults.at(keys.iter().collect::<Path>().key(part), None, Some(origin), problem);
                return None;
            }
        };
        let Some(field) = siblings.iter().find(|field| field.name == part) else {
            let names = siblings.iter().map(|field| field.name);
            faults.unknown(&keys.iter().collect(), part, Some(origin), names);
            return None;
        };
        keys.push(part.clone());
        level = Some(&field.kind);
        target = Some(FieldTarget {
            kind: &field.kind,
            may_be_absent: !matches!(field.presence, Presence::Required),
            entry,
        });
    }
    let target = target?;
    if matches!(target.kind, Kind::Section(_) | Kind::Map(_)) {
        let problem = format!(
            "must be {}; name a key in it after another \"__\"",
            leaf::allowed(target.kind)
        );
        faults.at(keys.iter().collect(), None, Some(origin), problem);
        return None;
    }
    Some((keys, target))
}

/// An entry that is there already under a name that a variable cannot spell.
fn existing_key(table: Option<&Value>, part: &str) -> Option<String> {
    let Some(ValueKind::Table(table)) = table.map(|value| &value.kind) else {
        return None;
    };
    let folded = |key: &str| key.to_lowercase().replace('-', "_");
    let mut alike: Vec<&String> = table.keys().filter(|key| folded(key) == folded(part)).collect();
    alike.sort_by_key(|key| (key.as_str() != part, *key));
    alike.first().map(|key| (*key).clone())
}

/// What `OPENAI_API_KEY` or `OPENAI_BASE_URL` imply in development: a provider `openai` with all models it tells of.
/// Lies under the variables and over the files, and fills in only what those leave open.
pub(super) fn implied_provider(
    environment: Environment,
    variables: &[(String, String)],
    below: &Table,
) -> Option<Layer> {
    if !environment.is_development() {
        return None;
    }
    let given = |name: &str| variables.iter().any(|(key, value)| key == name && !value.is_empty());
    let cause = ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
        .into_iter()
        .find(|name| given(name))?;
    let origin = format!("implied by {cause}");
    let implied = [
        ("kind", ValueKind::from("openai")),
        ("base_url", ValueKind::from("https://api.openai.com/v1")),
        ("discover_models", ValueKind::from(true)),
    ];
    let mut layer = Table::new();
    for (key, kind) in implied {
        let keys = ["providers", "openai", key];
        if tree::get(below, &keys).is_none() {
            tree::set(&mut layer, &keys, Value::new(Some(&origin), kind));
        }
    }
    Some(Layer(layer))
}
