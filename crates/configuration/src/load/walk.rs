//! Holds the merged sources against the schema: every fault is noted, and what is left always becomes a struct.

use std::collections::{BTreeMap, BTreeSet};

use config::{Value, ValueKind};

use super::{
    faults::Faults,
    leaf,
    path::Path,
    schema::{Entries, Field, Kind, Presence, Rule},
    tree::Table,
};

/// What a fault says about a value that is there.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) origin: Option<String>,
    pub(super) shown: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) faults: Faults,
    pub(super) seen: BTreeMap<Path, Seen>,
    /// A source could not be read: what is missing may be in there, and rules about the whole would mislead.
    pub(super) incomplete: bool,
}

const PRESET: &str = "preset";
const MAX_ENTRIES: usize = 1000;

impl Walk {
    /// `table` with refused values replaced by stand-ins, unknown keys left out and presets filled in.
    pub(super) fn section(&mut self, path: &Path, fields: &[Field], table: &Table) -> Table {
        let field_names = || fields.iter().map(|field| field.name);
        for key in table.keys().collect::<BTreeSet<_>>() {
            if !field_names().any(|name| name == key) {
                self.faults
                    .unknown(path, key, origin_within(table.get(key)), field_names());
            }
        }
        let mut checked = Table::new();
        for field in fields {
            let given = table.get(field.name).filter(|value| value.kind != ValueKind::Nil);
            if let Some(value) = self.field(&path.key(field.name), field, given) {
                checked.insert(field.name.to_owned(), value);
            }
        }
        checked
    }

    fn field(&mut self, path: &Path, field: &Field, given: Option<&Value>) -> Option<Value> {
        if let Some(value) = given {
            return Some(self.value(path, &field.kind, value));
        }
        match (&field.kind, &field.presence) {
            // A section that is not there is one with all of its required keys missing.
            (Kind::Section(fields), _) => Some(Value::new(None, self.section(path, fields, &Table::new()))),
            (_, Presence::Preset(preset)) => Some(Value::new(Some(&PRESET.to_owned()), leaf::preset(*preset))),
            (_, Presence::Optional) => None,
            (kind, Presence::Required) => {
                if !self.incomplete && !self.faults.has(path) {
                    self.faults.at(path.clone(), None, None, missing(path, kind));
                }
                Some(Value::new(None, leaf::stand_in(kind)))
            }
        }
    }

    fn value(&mut self, path: &Path, kind: &Kind, value: &Value) -> Value {
        let origin = value.origin().map(str::to_owned);
        self.seen.insert(
            path.clone(),
            Seen {
                origin: origin.clone(),
                shown: leaf::shown(kind, &value.kind),
            },
        );
        let checked = match (kind, &value.kind) {
            (Kind::Section(fields), ValueKind::Table(table)) => {
                Some(ValueKind::Table(self.section(path, fields, table)))
            }
            (Kind::Map(entries), ValueKind::Table(table)) => Some(ValueKind::Table(self.entries(path, entries, table))),
            (Kind::List(fields), ValueKind::Array(items)) if items.len() <= MAX_ENTRIES => {
                Some(ValueKind::Array(self.items(path, fields, items)))
            }
            (kind, value) => leaf::read(kind, value),
        };
        let kind = checked.unwrap_or_else(|| {
            let problem = format!("must be {}", leaf::allowed(kind));
            self.faults
                .at(path.clone(), leaf::shown(kind, &value.kind), value.origin(), problem);
            match kind {
                Kind::Section(fields) => ValueKind::Table(self.stand_in_section(path, fields)),
                kind => leaf::stand_in(kind),
            }
        });
        Value::new(origin.as_ref(), kind)
    }

    fn entries(&mut self, path: &Path, entries: &Entries, table: &Table) -> Table {
        let Rule { allowed, holds } = entries.key;
        let mut checked = Table::new();
        for key in table.keys().collect::<BTreeSet<_>>() {
            let Some(value) = table.get(key).filter(|value| value.kind != ValueKind::Nil) else {
                continue;
            };
            if !holds(key) || checked.len() == MAX_ENTRIES {
                let problem = format!("the name must be {allowed}, and there may be at most {MAX_ENTRIES}");
                self.faults.at(path.key(key), None, origin_within(Some(value)), problem);
            }
            checked.insert(key.clone(), self.value(&path.key(key), &entries.item, value));
        }
        checked
    }

    fn items(&mut self, path: &Path, fields: &[Field], items: &[Value]) -> Vec<Value> {
        items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                let path = path.index(at);
                let checked = if let ValueKind::Table(table) = &item.kind {
                    self.section(&path, fields, table)
                } else {
                    self.faults.at(path.clone(), None, item.origin(), "must be a table");
                    self.stand_in_section(&path, fields)
                };
                Value::new(item.origin().map(str::to_owned).as_ref(), checked)
            })
            .collect()
    }

    /// For one that is something else; that it then lacks all keys need not be told.
    fn stand_in_section(&mut self, path: &Path, fields: &[Field]) -> Table {
        self.incomplete = true;
        self.section(path, fields, &Table::new())
    }
}

fn missing(path: &Path, kind: &Kind) -> String {
    let plain = super::variables::plain_name(path)
        .map(|name| format!(" or {name}"))
        .unwrap_or_default();
    match (kind, path.variable()) {
        (Kind::Map(_), Some(variable)) => format!("missing; must have at least one entry; set {variable}__<NAME>"),
        (_, Some(variable)) => format!("missing; must be {}; set {variable}{plain}", leaf::allowed(kind)),
        (_, None) => format!("missing; must be {}", leaf::allowed(kind)),
    }
}

/// A table built from variables has no origin of its own; that of a value in it tells where to look.
fn origin_within(value: Option<&Value>) -> Option<&str> {
    let value = value?;
    value.origin().or_else(|| match &value.kind {
        ValueKind::Table(table) => {
            let mut keys: Vec<&String> = table.keys().collect();
            keys.sort();
            keys.into_iter().find_map(|key| origin_within(table.get(key)))
        }
        _ => None,
    })
}
