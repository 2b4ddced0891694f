//! Holds the merged sources against the schema: every fault is noted, and what is left always becomes a struct.

use config::{Value, ValueKind};

use super::{
    check::{Check, Given},
    leaf,
    path::Path,
    schema::{Entries, Field, Kind, Presence},
    tree::{Table, sorted, table_of},
    variables,
};

const MAX_ENTRIES: usize = 1000;

impl Check {
    /// `table` with refused values replaced by stand-ins, unknown keys left out and presets filled in.
    pub(super) fn section(&mut self, path: &Path, fields: &'static [Field], table: &Table) -> ValueKind {
        for (key, value) in table {
            if fields.iter().all(|field| field.name != key) {
                self.unknown(path, key, origin_within(value), fields);
            }
        }
        // A section's own values before the sections in it, as TOML wants them to be shown.
        let (nested, single): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.kind.is_nested());
        let mut checked = Table::new();
        for field in single.into_iter().chain(nested) {
            let (path, kind) = (path.key(field.name), field.kind);
            let preset = || match field.presence {
                Presence::Preset(text) => leaf::parsed(kind, text, &"preset".to_owned()),
                _ => None,
            };
            let given = table.get(field.name).filter(|value| value.kind != ValueKind::Nil);
            let value = match (given.cloned().or_else(preset), kind) {
                (Some(value), _) => self.value(&path, kind, value),
                // A section that is not there is one with all of its required keys missing.
                (None, Kind::Section(fields)) => self.section(&path, fields, &Table::new()),
                (None, _) if matches!(field.presence, Presence::Required) => {
                    if !self.incomplete && !self.is_refused(path.clone()) {
                        self.fault(&path, None, None, missing(&path, kind));
                    }
                    leaf::stand_in(kind)
                }
                (value @ None, _) => {
                    self.given.push(Given { path, kind, value });
                    continue;
                }
            };
            checked.insert(field.name.to_owned(), value.into());
        }
        checked.into()
    }

    fn value(&mut self, path: &Path, kind: Kind, value: Value) -> ValueKind {
        let shown = leaf::shown(kind, &value.kind).filter(|_| !path.is_item());
        let origin = value.origin().map(str::to_owned);
        let given = Some(value.clone());
        self.given.push(Given {
            path: path.clone(),
            kind,
            value: given,
        });
        let read = match (kind, value.kind) {
            (Kind::Section(fields), ValueKind::Table(table)) => Some(self.section(path, fields, &table)),
            (Kind::Map(entries), ValueKind::Table(table)) => Some(self.entries(path, entries, &table)),
            (Kind::List(fields), ValueKind::Array(items)) if items.len() <= MAX_ENTRIES => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(at, item)| self.value(&path.index(at), Kind::Section(fields), item));
                Some(items.collect::<Vec<_>>().into())
            }
            (kind, value) => leaf::read(kind, &value),
        };
        read.unwrap_or_else(|| {
            let allowed = if path.is_item() {
                "a table".to_owned()
            } else {
                leaf::allowed(kind)
            };
            self.fault(path, shown, origin.as_deref(), format!("must be {allowed}"));
            let Kind::Section(fields) = kind else {
                return leaf::stand_in(kind);
            };
            // That it lacks all keys then need not be told.
            self.incomplete = true;
            self.section(path, fields, &Table::new())
        })
    }

    fn entries(&mut self, path: &Path, entries: &'static Entries, table: &Table) -> ValueKind {
        let mut checked = Table::new();
        for (key, value) in sorted(table) {
            let path = path.key(key);
            if !(entries.key.holds)(key) || checked.len() == MAX_ENTRIES {
                let allowed = entries.key.allowed;
                let problem = format!("the name must be {allowed}, and there may be at most {MAX_ENTRIES}");
                self.fault(&path, None, origin_within(value), problem);
            }
            checked.insert(key.clone(), self.value(&path, entries.item, value.clone()).into());
        }
        checked.into()
    }
}

fn missing(path: &Path, kind: Kind) -> String {
    let allowed = leaf::allowed(kind);
    match (kind, path.variable()) {
        (_, None) => format!("missing; must be {allowed}"),
        (Kind::Map(_), Some(name)) => format!("missing; must have at least one entry; set {name}__<NAME>"),
        (_, Some(name)) => {
            let plain = variables::plain_name(&name).map(|plain| format!(" or {plain}"));
            format!("missing; must be {allowed}; set {name}{}", plain.unwrap_or_default())
        }
    }
}

/// A merged table has no origin of its own; that of a value in it tells where to look.
fn origin_within(value: &Value) -> Option<&str> {
    let first_within = || sorted(table_of(value)?).into_values().find_map(origin_within);
    value.origin().or_else(first_within)
}
