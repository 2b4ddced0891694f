//! Single values: read, described, shown, and stood in for.

use std::{net::IpAddr, time::Duration};

use config::{FileFormat, Format, Value, ValueKind};
use ipnet::IpNet;
use url::Url;

use super::{path::quoted_text, schema::Kind};

const MASK: &str = "********";
/// Longer values are cut in faults; a person needs to recognise the value, not to read it.
const SHOWN_LENGTH: usize = 80;
const LIST_LENGTH: usize = 1000;

/// A variable's text in the form that a file would have given it; nothing if it should be TOML and is not.
pub(super) fn parsed(kind: Kind, text: &str, origin: &String) -> Option<Value> {
    let parsed = match kind {
        Kind::Networks | Kind::Texts(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(ValueKind::from).collect::<Vec<_>>().into()
        }
        Kind::List(_) => {
            let mut table = FileFormat::Toml.parse(Some(origin), &format!("value = {text}")).ok()?;
            return table.remove("value").filter(|_| table.is_empty());
        }
        Kind::Number(..) => text.parse::<i64>().map_or_else(|_| text.into(), ValueKind::from),
        Kind::Flag => text.parse::<bool>().map_or_else(|_| text.into(), ValueKind::from),
        _ => text.into(),
    };
    Some(Value::new(Some(origin), parsed))
}

/// The value in the form that the structs take, or nothing if it is not what `kind` asks for.
pub(super) fn read(kind: Kind, value: &ValueKind) -> Option<ValueKind> {
    let fits = match (kind, value) {
        (Kind::Networks, ValueKind::Array(_)) => return list(value, network),
        (Kind::Texts(rule), ValueKind::Array(_)) => return list(value, |text| (rule.holds)(text).then(|| text.into())),
        // The rule of a URL parses by itself: there may be several.
        (
            Kind::Text(rule) | Kind::Parsed(rule, _) | Kind::Secret(rule) | Kind::SecretUrl(rule) | Kind::Url(rule),
            ValueKind::String(text),
        ) => (rule.holds)(text),
        (Kind::Flag, ValueKind::Boolean(_)) => true,
        (Kind::Number(min, max), ValueKind::I64(number)) => {
            u64::try_from(*number).is_ok_and(|number| (min..=max).contains(&number))
        }
        (Kind::Span(min, max), ValueKind::String(text)) => {
            humantime::parse_duration(text).is_ok_and(|span| (min..=max).contains(&span))
        }
        (Kind::Choice(choices), ValueKind::String(text)) => choices.contains(&text.as_str()),
        _ => false,
    };
    fits.then(|| value.clone())
}

fn list(value: &ValueKind, item: impl Fn(&str) -> Option<String>) -> Option<ValueKind> {
    let ValueKind::Array(values) = value else { return None };
    let read = |value: &Value| match &value.kind {
        ValueKind::String(text) => item(text),
        _ => None,
    };
    let items: Option<Vec<String>> = values.iter().map(read).collect();
    items.filter(|items| items.len() <= LIST_LENGTH).map(ValueKind::from)
}

fn network(text: &str) -> Option<String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(address)
        .map(|network| network.to_string())
}

/// Completes "must be ...".
pub(super) fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Text(rule) | Kind::Parsed(rule, _) | Kind::Secret(rule) | Kind::SecretUrl(rule) | Kind::Url(rule) => {
            rule.allowed.to_owned()
        }
        Kind::Flag => "true or false".to_owned(),
        Kind::Number(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Span(min, max) => {
            let (min, max) = (span_text(min), span_text(max));
            format!("a duration from {min} to {max}, such as \"500ms\", \"30s\" or \"24h\"")
        }
        Kind::Networks => format!(
            "a list of at most {LIST_LENGTH} networks or addresses, such as \"10.0.0.0/8\" (comma separated in a variable)"
        ),
        Kind::Texts(rule) => format!(
            "a list of at most {LIST_LENGTH}, each {} (comma separated in a variable)",
            rule.allowed
        ),
        Kind::Choice(choices) => {
            let quoted: Vec<String> = choices.iter().map(|choice| quoted_text(choice)).collect();
            format!("one of {}", quoted.join(", "))
        }
        Kind::Section(_) | Kind::Map(_) => "a section".to_owned(),
        Kind::List(_) => "a list of tables".to_owned(),
    }
}

fn span_text(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
        (1, "ms"),
    ];
    let largest = units
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    let (unit, name) = largest.unwrap_or((1, "s"));
    format!("{}{name}", millis / unit)
}

/// A valid value for a refused one, so that everything else can still be checked. Never used to run.
pub(super) fn stand_in(kind: Kind) -> ValueKind {
    match kind {
        Kind::Text(_) | Kind::Secret(_) | Kind::SecretUrl(_) => "".into(),
        Kind::Parsed(_, stand_in) => stand_in.into(),
        Kind::Url(_) => "https://stand-in.invalid".into(),
        Kind::Flag => false.into(),
        Kind::Number(min, _) => min.into(),
        Kind::Span(min, _) => format!("{}ms", min.as_millis()).into(),
        Kind::Choice(choices) => choices.first().copied().into(),
        Kind::Networks | Kind::Texts(_) | Kind::List(_) => ValueKind::Array(Vec::new()),
        // A section's is made of its keys' by the walk.
        Kind::Section(_) | Kind::Map(_) => ValueKind::Table(config::Map::new()),
    }
}

/// The value for people, with secrets masked.
pub(super) fn masked(kind: Kind, value: &ValueKind) -> ValueKind {
    match (kind, value) {
        (Kind::SecretUrl(_) | Kind::Url(_), ValueKind::String(text)) => masked_url(text).into(),
        (Kind::Secret(_), _) => MASK.into(),
        (_, value) => value.clone(),
    }
}

/// Hides the password, and all of it where a badly escaped password may have ended up in another part.
fn masked_url(text: &str) -> String {
    masked_parts(text).unwrap_or_else(|| MASK.to_owned())
}

fn masked_parts(text: &str) -> Option<String> {
    const HARMLESS: [&str; 6] = ["sslmode", "host", "port", "dbname", "application_name", "protocol"];
    let mut url = Url::parse(text).ok()?;
    let misplaced = |part: &str| part.contains('@') || part.contains("%40");
    if url.fragment().is_some() || misplaced(url.path()) || url.query().is_some_and(misplaced) {
        return None;
    }
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let secret = pairs.iter_mut().filter(|(name, _)| !HARMLESS.contains(&name.as_str()));
    let secrets = secret.map(|(_, value)| MASK.clone_into(value)).count();
    if url.password().is_some() {
        url.set_password(Some(MASK)).ok()?;
    } else if secrets == 0 {
        return Some(text.to_owned());
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    Some(url.into())
}

/// As TOML has it.
pub(super) fn toml_value(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => quoted_text(text),
        ValueKind::Array(items) => toml_list(items.iter().map(|item| toml_value(&item.kind))),
        other => other.to_string(),
    }
}

fn toml_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// For a fault's line: nothing where the value is, or may hold, a secret.
pub(super) fn shown(kind: Kind, value: &ValueKind) -> Option<String> {
    let text = match (kind, value) {
        (Kind::Secret(_) | Kind::SecretUrl(_), _) | (_, ValueKind::Table(_) | ValueKind::Nil) => return None,
        (Kind::Url(_), ValueKind::String(text)) if text.contains(['@', '?']) => return None,
        (_, ValueKind::Array(items)) => toml_list(items.iter().filter_map(|item| shown(kind, &item.kind))),
        (_, value) => toml_value(value),
    };
    let cut: String = text.chars().take(SHOWN_LENGTH).collect();
    Some(if cut.len() < text.len() { cut + "..." } else { text })
}

#[cfg(test)]
mod tests {
    use super::{masked_url, span_text};
    use std::time::Duration;

    #[test]
    fn passwords_in_urls_are_masked() {
        for (url, shown) in [
            (
                "postgres://maple@127.0.0.1:5432/mapleai",
                "postgres://maple@127.0.0.1:5432/mapleai",
            ),
            (
                "postgres://maple:hunter2@db/mapleai?sslmode=require",
                "postgres://maple:********@db/mapleai?sslmode=require",
            ),
            (
                "postgres://db/mapleai?password=hunter2&user=a",
                "postgres://db/mapleai?password=********&user=********",
            ),
            ("redis://:hunter2@cache:6379/0", "redis://:********@cache:6379/0"),
            (
                "postgres:///mapleai?host=/run/postgresql",
                "postgres:///mapleai?host=/run/postgresql",
            ),
        ] {
            assert_eq!(masked_url(url), shown);
        }
    }

    #[test]
    fn badly_escaped_passwords_do_not_show() {
        for url in [
            "postgres://maple:hun#ter2@db/mapleai",
            "postgres://maple:12/hunter2@db/mapleai",
            "postgres://maple:12?hunter2@db/mapleai",
            "postgres://maple:hunter2",
            "hunter2",
        ] {
            assert_eq!(masked_url(url), "********", "{url}");
        }
    }

    #[test]
    fn spans_are_written_in_their_largest_whole_unit() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (5000, "5s"),
            (90_000, "90s"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(span_text(Duration::from_millis(millis)), text);
        }
    }
}
