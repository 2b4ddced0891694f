//! The untyped configuration, and how one source is laid over another.

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::faults::Faults;

pub(super) type Table = Map<String, Value>;

/// One source's values. Laid over another, tables merge key by key; everything else, lists included, is replaced.
#[derive(Debug, Clone, Default)]
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

/// The layers in order, later ones over earlier ones.
pub(super) fn merge(layers: &[Layer], faults: &mut Faults) -> Table {
    let builder = layers.iter().fold(config::Config::builder(), |builder, layer| {
        builder.add_source(layer.clone())
    });
    match builder.build().map(|merged| merged.cache.kind) {
        Ok(ValueKind::Table(mut merged)) => match merged.remove(ROOT).map(|root| root.kind) {
            Some(ValueKind::Table(root)) => root,
            _ => Table::new(),
        },
        Ok(_) => Table::new(),
        Err(error) => {
            faults.unusable("configuration", format!("the sources cannot be merged: {error}"));
            Table::new()
        }
    }
}

/// The value at the end of `keys`, if all before it are tables.
pub(super) fn get<'t>(table: &'t Table, keys: &[impl AsRef<str>]) -> Option<&'t Value> {
    let (last, before) = keys.split_last()?;
    let mut table = table;
    for key in before {
        table = match &table.get(key.as_ref())?.kind {
            ValueKind::Table(inner) => inner,
            _ => return None,
        };
    }
    table.get(last.as_ref())
}

/// Puts a value at the end of `keys`, making tables on the way.
pub(super) fn set(table: &mut Table, keys: &[impl AsRef<str>], value: Value) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.insert(first.as_ref().to_owned(), value);
        return;
    }
    let entry = table
        .entry(first.as_ref().to_owned())
        .or_insert_with(|| Value::new(None, Table::new()));
    if !matches!(entry.kind, ValueKind::Table(_)) {
        entry.kind = ValueKind::Table(Table::new());
    }
    if let ValueKind::Table(inner) = &mut entry.kind {
        set(inner, rest, value);
    }
}
