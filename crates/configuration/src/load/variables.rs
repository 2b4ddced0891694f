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
    tree::{Layer, child},
};
use crate::FIELDS;

/// Plain name, key, and whether it counts in development only: a key to a provider that happens to be in the environment
/// must not open that provider to a whole organisation.
const PLAIN: [(&str, &str, bool); 5] = [
    ("DATABASE_URL", "database.url", false),
    ("REDIS_URL", "redis.url", false),
    ("PORT", "server.port", false),
    ("OPENAI_BASE_URL", "providers.openai.base_url", true),
    ("OPENAI_API_KEY", "providers.openai.api_key", true),
];

/// The plain name of a key that has one and counts everywhere.
pub(super) fn plain_name(path: &Path) -> Option<&'static str> {
    let key = path.to_string();
    PLAIN.iter().find(|(_, keys, _)| *keys == key).map(|(name, ..)| *name)
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
    // By name, the last one of a name winning.
    let mut plain = BTreeMap::new();
    let mut in_files = BTreeMap::new();
    for (given, value) in pairs {
        let origin = format!("{source}{given}");
        match stands_for(given) {
            None => _ = plain.insert(given.as_str(), (value.clone(), origin)),
            // Scripts pass on variables they do not have as empty ones.
            Some(_) if value.is_empty() => {}
            Some(name) => match content(value) {
                Ok(text) => _ = in_files.insert(name, (text, format!("{origin} ({value})"))),
                Err(problem) => check.unusable(given, format!("\"{value}\" {problem}")),
            },
        }
    }
    plain.retain(|name, _| !in_files.contains_key(name));
    let (empty, plain): (Vec<_>, Vec<_>) = plain.into_iter().partition(|(_, (text, _))| text.is_empty());
    let variable = |in_file| {
        move |(name, (text, origin)): (&str, _)| Variable {
            name: name.to_owned(),
            text,
            origin,
            in_file,
        }
    };
    let in_files = in_files.into_iter().map(variable(true));
    in_files
        .chain(plain.into_iter().chain(empty).map(variable(false)))
        .collect()
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
        // `compose.yaml` and charts pass on what they do not have as empty: that makes no provider.
        if text.is_empty() && target.new_entry.as_ref().is_some_and(is_new) {
            continue;
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            check.fault(path, None, Some(origin), "must be valid UTF-8");
            continue;
        }
        if let Some(other) = set_by.get(path) {
            if other.text != text && other.in_file == variable.in_file {
                let (one, two) = (&other.name, &variable.name);
                check.fault(
                    path,
                    None,
                    None,
                    format!("{one} and {two} are both set and differ; set one of them"),
                );
            }
            continue;
        }
        let is_list = matches!(target.kind, Kind::Networks | Kind::Texts(_) | Kind::List(_));
        let takes_back = text.is_empty() && target.may_be_absent && !is_list;
        let value = match leaf::parsed(target.kind, text, origin) {
            _ if takes_back => Value::new(Some(origin), ValueKind::Nil),
            Some(value) => value,
            None => {
                let problem = "must be a TOML list of tables on one line, such as [{ id = \"...\", ... }]";
                check.fault(path, None, Some(origin), problem);
                continue;
            }
        };
        layers.extend(Layer::single(path, value));
        set_by.insert(target.path, variable);
    }
    layers
}

struct Target {
    path: Path,
    kind: Kind,
    may_be_absent: bool,
    /// The section of the operator's naming that this would be the first key of.
    new_entry: Option<Path>,
}

/// The key that a variable sets; nothing if it is not ours.
fn target(variable: &Variable, below: &Value, check: &mut Check) -> Option<Target> {
    if let Some(rest) = variable.name.strip_prefix("MAPLE__") {
        let parts: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        return resolve(&parts, &variable.origin, below, check);
    }
    let (_, keys, development_only) = PLAIN.iter().find(|(plain, ..)| *plain == variable.name)?;
    // Scripts pass on variables they do not have as empty ones.
    if variable.text.is_empty() || (*development_only && !check.environment().is_development()) {
        return None;
    }
    let parts: Vec<String> = keys.split('.').map(str::to_owned).collect();
    resolve(&parts, &variable.origin, below, check)
}

/// Follows the lower-cased parts of a name through the schema.
fn resolve(parts: &[String], origin: &str, below: &Value, check: &mut Check) -> Option<Target> {
    let (mut path, mut kind, mut may_be_absent) = (Path::default(), Kind::Section(FIELDS), false);
    let mut existing = Some(below);
    let mut new_entry = None;
    for part in parts {
        let key = match kind {
            Kind::Section(fields) => {
                let Some(field) = fields.iter().find(|field| field.name == part) else {
                    check.unknown(&path, part, Some(origin), fields);
                    return None;
                };
                kind = field.kind;
                may_be_absent = !matches!(field.presence, Presence::Required);
                part.clone()
            }
            Kind::Map(entries) => {
                kind = entries.item;
                may_be_absent = false;
                let key = existing.and_then(|table| existing_key(table, part));
                key.unwrap_or_else(|| (entries.from_variable)(part.clone()))
            }
            _ => {
                let problem = format!("unknown key; {path} is a single value");
                check.fault(&path.key(part), None, Some(origin), problem);
                return None;
            }
        };
        existing = existing.and_then(|table| child(table, &key));
        path = path.key(&key);
        if existing.is_none() && matches!(kind, Kind::Section(_)) {
            new_entry.get_or_insert_with(|| path.clone());
        }
    }
    if matches!(kind, Kind::Section(_) | Kind::Map(_)) {
        let allowed = leaf::allowed(kind);
        let problem = format!("must be {allowed}; name a key in it after another \"__\"");
        check.fault(&path, None, Some(origin), problem);
        return None;
    }
    Some(Target {
        path,
        kind,
        may_be_absent,
        new_entry,
    })
}

/// An entry that is there already under a name that a variable cannot spell.
fn existing_key(table: &Value, part: &str) -> Option<String> {
    let ValueKind::Table(table) = &table.kind else {
        return None;
    };
    let folded = |key: &str| key.to_lowercase().replace('-', "_");
    let alike = table.keys().filter(|key| folded(key) == folded(part));
    alike.min_by_key(|key| (key.as_str() != part, *key)).cloned()
}
