//! The schema, the structs and the manual say the same.

use std::collections::BTreeSet;

use crate::{
    Config, FIELDS, ProviderConfig,
    load::{
        leaf,
        schema::{Field, Kind, Presence},
    },
};

/// Collects the field names that a struct's `Deserialize` asks for.
struct FieldNames<'f>(&'f mut BTreeSet<&'static str>);

impl<'de> serde::Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn assert_alike<'de, T: serde::Deserialize<'de>>(fields: &[Field]) {
    let mut names = BTreeSet::new();
    assert!(T::deserialize(FieldNames(&mut names)).is_err());
    assert_eq!(
        fields.iter().map(|field| field.name).collect::<BTreeSet<_>>(),
        names,
        "{}",
        std::any::type_name::<T>()
    );
}

#[test]
fn schema_and_structs_have_the_same_keys() {
    use crate::{auth, cache, database, local, log, migrations, models, providers, server, usage};
    assert_alike::<Config>(FIELDS);
    assert_alike::<server::ServerConfig>(server::FIELDS);
    assert_alike::<database::DatabaseConfig>(database::FIELDS);
    assert_alike::<migrations::MigrationsConfig>(migrations::FIELDS);
    assert_alike::<database::RedisConfig>(database::REDIS_FIELDS);
    assert_alike::<cache::CacheConfig>(cache::FIELDS);
    assert_alike::<cache::HttpCacheConfig>(cache::HTTP_FIELDS);
    assert_alike::<auth::AuthConfig>(auth::FIELDS);
    assert_alike::<usage::UsageConfig>(usage::FIELDS);
    assert_alike::<log::LogConfig>(log::FIELDS);
    assert_alike::<local::LocalConfig>(local::FIELDS);
    assert_alike::<models::ModelConfig>(models::FIELDS);
    let Kind::Section(provider) = &providers::FIELDS.item else {
        panic!("providers are sections")
    };
    assert_alike::<ProviderConfig>(provider);
}

/// Serde's own defaults serve programs that build a `ProviderConfig` from JSON; they must not differ.
#[test]
fn presets_are_the_structs_defaults() {
    let bare: ProviderConfig = serde_json::from_value(serde_json::json!({ "kind": "mock" })).unwrap();
    let Kind::Section(fields) = &crate::providers::FIELDS.item else {
        panic!("providers are sections")
    };
    let mut preset = serde_json::json!({ "kind": "mock" });
    for field in *fields {
        if let Presence::Preset(text) = field.presence {
            let value = leaf::parsed(field.kind, text, &String::new()).unwrap();
            preset[field.name] = value.try_deserialize().unwrap();
        }
    }
    let preset: ProviderConfig = serde_json::from_value(preset).unwrap();
    assert_eq!(format!("{bare:?}"), format!("{preset:?}"));
}

#[test]
fn the_manual_names_every_key() {
    assert_named(include_str!("../../../../../config/default.toml"), FIELDS);
}

fn assert_named(manual: &str, fields: &[Field]) {
    for field in fields {
        let key = field.name;
        let forms = [
            format!("\n{key} = "),
            format!("\n# {key} = "),
            format!("[{key}]"),
            format!("[{key}."),
            format!(".{key}]"),
        ];
        assert!(forms.iter().any(|form| manual.contains(form.as_str())), "{key}");
        match &field.kind {
            Kind::Section(fields) | Kind::List(fields) => assert_named(manual, fields),
            Kind::Map(entries) => {
                if let Kind::Section(fields) = &entries.item {
                    assert_named(manual, fields);
                }
            }
            _ => {}
        }
    }
}
