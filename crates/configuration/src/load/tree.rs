//! The untyped configuration, and how one source is laid over another.

use std::collections::BTreeMap;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::{check::Check, path::Path};

pub(super) type Table = Map<String, Value>;

/// One source's values. Laid over another, tables merge key by key; everything else, lists included, is replaced.
#[derive(Debug, Clone)]
pub(super) struct Layer(pub(super) Table);

/// `config` takes the top-level keys of a source for paths, so that `"models[999999999]"` would make a list of that length.
/// One level deeper keys are keys.
const ROOT: &str = "root";

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), Value::new(None, self.0.clone()))]))
    }
}

impl Layer {
    /// With one value; nothing for a path that leads into a list.
    pub(super) fn single(path: &Path, value: Value) -> Option<Self> {
        let nest = |inner, key: &str| Value::new(None, Table::from([(key.to_owned(), inner)]));
        let nested = path.keys()?.into_iter().rfold(value, nest);
        nested.into_table().ok().map(Self)
    }
}

/// The layers in order, later ones over earlier ones.
pub(super) fn merge(layers: Vec<Layer>, check: &mut Check) -> Table {
    let merged = Config::builder().add_source(layers).build();
    merged
        .and_then(|merged| merged.get_table(ROOT))
        .unwrap_or_else(|error| {
            check.unusable("configuration", format!("the sources cannot be merged: {error}"));
            Table::new()
        })
}

/// What is in a table.
pub(super) fn table_of(value: &Value) -> Option<&Table> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// A table's entries by name.
pub(super) fn sorted(table: &Table) -> BTreeMap<&String, &Value> {
    table.iter().collect()
}
