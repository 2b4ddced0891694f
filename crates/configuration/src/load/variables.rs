//! Variables, of the process or of `.env.local`, as layers of configuration.
//!
//! `MAPLE__SECTION__KEY` sets any key, in tables of the operator's own naming too: an entry is found whatever its case and
//! whether it has `-` or `_`. An empty variable takes back an optional value and makes no entry. A few names that platforms and
//! people use already stand for single keys.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::{
    check::Check,
    leaf,
    path::Path,
    schema::{Kind, Presence},
    secret_files::{content, stands_for},
    tree::{Layer, table_of},
};
use crate::FIELDS;

/// Plain name, full name, and whether it counts in development only: a key to a provider that happens to be in the
/// environment must not open that provider to a whole organisation.
const PLAIN: [(&str, &str, bool); 5] = [
    ("DATABASE_URL", "MAPLE__DATABASE__URL", false),
    ("REDIS_URL", "MAPLE__REDIS__URL", false),
    ("PORT", "MAPLE__SERVER__PORT", false),
    ("OPENAI_BASE_URL", "MAPLE__PROVIDERS__OPENAI__BASE_URL", true),
    ("OPENAI_API_KEY", "MAPLE__PROVIDERS__OPENAI__API_KEY", true),
];

/// The plain name that stands for a full one.
pub(super) fn plain_name(name: &str) -> Option<&'static str> {
    PLAIN
        .iter()
        .find(|(_, full, _)| *full == name)
        .map(|(plain, ..)| *plain)
}

/// A variable, with the value that was in its file if it names one.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
    /// How it is named as the origin of a value.
    origin: String,
    in_file: bool,
}

/// One set of variables, in the order in which they count: what is in a file wins, whichever of a key's names it goes by, and
/// an empty one comes last. `source` stands before the names of origins.
pub(super) fn read(pairs: &[(String, String)], source: &str, check: &mut Check) -> Vec<Variable> {
    let mut read = Vec::new();
    for (given, value) in pairs {
        let mut origin = format!("{source}{given}");
        let (mut name, mut text) = (given.as_str(), value.clone());
        let stem = stands_for(given);
        if let Some(stem) = stem {
            match content(value) {
                Ok(content) => (name, text) = (stem, content),
                // Scripts pass on variables they do not have as empty ones.
                Err(_) if value.is_empty() => continue,
                Err(problem) => {
                    check.unusable(given, format!("\"{value}\" {problem}"));
                    continue;
                }
            }
            origin = format!("{origin} ({value})");
        }
        let (name, in_file) = (name.to_owned(), stem.is_some());
        read.push(Variable {
            name,
            text,
            origin,
            in_file,
        });
    }
    // The last one of a name wins, and one in a file over all others.
    read.sort_by_key(|variable| variable.in_file);
    let by_name = read.into_iter().map(|variable| (variable.name.clone(), variable));
    let mut read: Vec<Variable> = by_name.collect::<BTreeMap<_, _>>().into_values().collect();
    read.sort_by_key(|variable| (!variable.in_file, variable.text.is_empty()));
    read
}

/// A layer for each of the variables that are ours, for what `below` (the sources before) and the schema say about their names.
pub(super) fn layers(variables: &[Variable], below: &Value, check: &mut Check) -> Vec<Layer> {
    let mut set_by: BTreeMap<Path, &Variable> = BTreeMap::new();
    let mut layers = Vec::new();
    for variable in variables {
        let (text, origin) = (variable.text.as_str(), &variable.origin);
        let Some(target) = target(variable, below, check) else {
            continue;
        };
        let path = &target.path;
        let is_new = |entry: &Path| !set_by.keys().any(|set| set.starts_with(entry));
        let problem = if text.is_empty() && target.new_entry.as_ref().is_some_and(is_new) {
            // `compose.yaml` and charts pass on what they do not have as empty: that makes no provider.
            continue;
        } else if text.contains(char::REPLACEMENT_CHARACTER) {
            "must be valid UTF-8"
        } else if let Some(other) = set_by.get(path) {
            if other.text != text && other.in_file == variable.in_file {
                let names = format!("{} and {}", other.name, variable.name);
                check.fault(
                    path,
                    None,
                    None,
                    format!("{names} are both set and differ; set one of them"),
                );
            }
            continue;
        } else if let Some(value) = target.value(text, origin) {
            layers.extend(Layer::single(path, value));
            set_by.insert(target.path, variable);
            continue;
        } else {
            "must be a TOML list of tables on one line, such as [{ id = \"...\", ... }]"
        };
        check.fault(path, None, Some(origin), problem);
    }
    layers
}

/// The key that a variable sets.
struct Target {
    path: Path,
    kind: Kind,
    may_be_absent: bool,
    /// The section of the operator's naming that this would be the first key of.
    new_entry: Option<Path>,
}

/// Follows a variable's name through the schema; nothing if it is not ours, or leads nowhere.
fn target(variable: &Variable, below: &Value, check: &mut Check) -> Option<Target> {
    let name = match PLAIN.iter().find(|(plain, ..)| *plain == variable.name) {
        // Scripts pass on variables they do not have as empty ones.
        Some(_) if variable.text.is_empty() => return None,
        Some((.., true)) if !check.environment().is_development() => return None,
        Some((_, full, _)) => full,
        None => variable.name.as_str(),
    };
    let origin = Some(variable.origin.as_str());
    let (mut path, mut kind, mut may_be_absent) = (Path::default(), Kind::Section(FIELDS), false);
    let (mut existing, mut new_entry) = (Some(below), None);
    for part in name.strip_prefix("MAPLE__")?.split("__").map(str::to_lowercase) {
        let in_map = matches!(kind, Kind::Map(_));
        let key = match kind {
            Kind::Section(fields) => {
                let Some(field) = fields.iter().find(|field| field.name == part) else {
                    check.unknown(&path, &part, origin, fields);
                    return None;
                };
                (kind, may_be_absent) = (field.kind, !matches!(field.presence, Presence::Required));
                part
            }
            Kind::Map(entries) => {
                (kind, may_be_absent) = (entries.item, false);
                let key = existing.and_then(|table| existing_key(table, &part));
                key.unwrap_or_else(|| (entries.from_variable)(part))
            }
            _ => {
                let problem = format!("unknown key; {path} is a single value");
                check.fault(&path.key(&part), None, origin, problem);
                return None;
            }
        };
        existing = existing.and_then(|table| table_of(table)?.get(&key));
        path = path.key(&key);
        if in_map && existing.is_none() && kind.is_nested() {
            new_entry.get_or_insert_with(|| path.clone());
        }
    }
    if matches!(kind, Kind::Section(_) | Kind::Map(_)) {
        let problem = "must be a section; name a key in it after another \"__\"";
        check.fault(&path, None, origin, problem);
        return None;
    }
    Some(Target {
        path,
        kind,
        may_be_absent,
        new_entry,
    })
}

impl Target {
    /// An empty text takes back what a file has set.
    fn value(&self, text: &str, origin: &String) -> Option<Value> {
        let is_list = matches!(self.kind, Kind::Networks | Kind::Texts(_) | Kind::List(_));
        if text.is_empty() && self.may_be_absent && !is_list {
            return Some(Value::new(Some(origin), ValueKind::Nil));
        }
        leaf::parsed(self.kind, text, origin)
    }
}

/// An entry that is there already under a name that a variable cannot spell.
fn existing_key(table: &Value, part: &str) -> Option<String> {
    let folded = |key: &str| key.to_lowercase().replace('-', "_");
    let alike = table_of(table)?.keys().filter(|key| folded(key) == folded(part));
    alike.min_by_key(|key| (key.as_str() != part, *key)).cloned()
}
