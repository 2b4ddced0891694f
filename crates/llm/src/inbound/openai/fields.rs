//! The members of an object: those that are read, by their exact names, and names that a less exact reader would take for one of them.
//!
//! JSON's names are case-sensitive, but not every upstream reads them so: Go's `encoding/json` takes `MODEL`, `Model` and `ſtream` for
//! the field and lets the last one win (Unicode simple folding), others skip dashes and underscores. A name that we pass over and the upstream does
//! not would have it do something else than what is routed, priced and recorded.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::unquote;
use crate::canonical::Member;

/// Members of most requests.
const USUAL: usize = 8;
/// Members that are kept: an API has some forty, and each takes several times the memory of the shortest one in the body.
const MAX_MEMBERS: usize = 256;
/// Characters of a caller's own name that a message repeats.
const MAX_SHOWN: usize = 64;

/// What was found of an object.
pub(super) struct Named<'a, const N: usize> {
    /// All, as they are written and in their order; `None` if there are too many to keep.
    pub(super) members: Option<Vec<Member<'a>>>,
    /// By the place of their names, as they are written, `null` included.
    pub(super) values: [Option<&'a RawValue>; N],
    /// The first name that is nearly one of them, cut to be shown, and which.
    pub(super) misspelt: Option<(String, &'static str)>,
}

/// Reads the members of an object that have these names, which are in lower case. A name that comes twice is an error.
pub(super) fn read<'a, const N: usize>(
    text: &'a str,
    names: &[&'static str; N],
) -> Result<Named<'a, N>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(Members(names))?;
    deserializer.end()?;
    Ok(found)
}

struct Members<'n, const N: usize>(&'n [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = Named<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = Named {
            members: Some(Vec::with_capacity(USUAL)),
            values: [None; N],
            misspelt: None,
        };
        while let Some(name) = members.next_key::<&'de RawValue>()?.map(RawValue::get) {
            let plain = unquote(name).ok_or_else(|| de::Error::custom("a name is not valid Unicode"))?;
            let value = members.next_value::<&'de RawValue>()?;
            let mut named = self.0.iter().zip(&mut found.values);
            match named.find(|(name_read, _)| **name_read == plain) {
                Some((name_read, Some(_))) => return Err(de::Error::duplicate_field(name_read)),
                Some((_, place)) => *place = Some(value),
                None if found.misspelt.is_none() => {
                    let meant = self.0.iter().find(|name_read| is_nearly(&plain, name_read));
                    found.misspelt = meant.map(|meant| (shown(&plain).into_owned(), *meant));
                }
                None => {}
            }
            let value = value.get();
            match &mut found.members {
                Some(kept) if kept.len() < MAX_MEMBERS => kept.push(Member { name, value }),
                kept => *kept = None,
            }
        }
        Ok(found)
    }
}

fn shown(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

/// Whether a reader that does not mind case, dashes and underscores could take `name` for `name_read`.
fn is_nearly(name: &str, name_read: &str) -> bool {
    let separators = |character: &char| !matches!(character, '_' | '-');
    let name = name.chars().filter(separators).map(folded);
    name.eq(name_read.chars().filter(separators))
}

/// A character that is folded to a letter of ASCII, as that in lower case. Simple folding (Unicode's `CaseFolding.txt`) knows two beyond ASCII; the two of
/// Turkish are for readers that compare in upper case.
fn folded(character: char) -> char {
    match character {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::{RawValue, is_nearly, read};
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["model", "stream_options", "n"];

    #[test]
    fn values_are_found_by_their_exact_names() {
        let found = read(r#"{"x":[{"model":1}],"mod\u0065l":"a","stream_options":null}"#, &NAMES).unwrap();
        assert_eq!(
            found.values.map(|value| value.map(RawValue::get)),
            [Some("\"a\""), Some("null"), None]
        );
        assert_eq!(found.misspelt, None);
    }

    #[test]
    fn names_that_are_nearly_one_are_told() {
        for (name, meant) in [
            ("MODEL", "model"),
            ("Model", "model"),
            ("mo_del", "model"),
            ("ſtream_option\u{17f}", "stream_options"),
            ("StreamOptions", "stream_options"),
            ("stream-options", "stream_options"),
            ("N", "n"),
        ] {
            let body = format!(r#"{{"model":1,"{name}":2}}"#);
            let found = read(&body, &NAMES).unwrap();
            assert_eq!(found.misspelt, Some((name.to_owned(), meant)));
        }
        let long = format!("{}model", "_".repeat(10_000));
        let body = format!(r#"{{"{long}":2}}"#);
        let (shown, _) = read(&body, &NAMES).unwrap().misspelt.unwrap();
        assert_eq!(shown.chars().count(), 65);
        for other in ["models", "mode", "", "_", "nn", "streamoption"] {
            let body = format!(r#"{{"{other}":2}}"#);
            assert_eq!(read(&body, &NAMES).unwrap().misspelt, None, "{other}");
        }
    }

    /// An object of the shortest members would take five times its own memory.
    #[test]
    fn no_more_members_are_kept_than_a_request_can_have() {
        let object = |count: usize| format!("{{{}}}", vec!["\"\":1"; count].join(","));
        for (count, kept) in [(0, Some(0)), (256, Some(256)), (257, None), (100_000, None)] {
            let text = object(count);
            let found = read(&text, &NAMES).unwrap();
            assert_eq!(found.members.map(|members| members.len()), kept, "{count}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_refused_however_it_is_written() {
        for twice in [r#"{"n":1,"n":1}"#, r#"{"n":null,"\u006e":1}"#] {
            let error = read(twice, &NAMES).map(|_| ()).unwrap_err();
            assert!(error.to_string().starts_with("duplicate field `n`"), "{error}");
        }
        assert!(read(r#"{"x":1,"x":1}"#, &NAMES).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_simple_folding_takes_for_a_name_is_nearly_it(name in prop::sample::select(&NAMES[..]), seed in any::<u64>()) {
            let mut bits = seed;
            let written: String = name.chars().map(|character| {
                bits = bits.rotate_left(7).wrapping_mul(31);
                match (character, bits % 3) {
                    ('s', 2) => 'ſ',
                    ('k', 2) => '\u{212a}',
                    (other, 1) => other.to_ascii_uppercase(),
                    (other, _) => other,
                }
            }).collect();
            prop_assert!(is_nearly(&written, name));
        }
    }
}
