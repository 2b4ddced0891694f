//! Single values: read, described, shown, and stood in for.

use std::{net::IpAddr, time::Duration};

use config::{Value, ValueKind};
use ipnet::IpNet;
use url::Url;

use super::{
    path::quoted_text,
    schema::{Kind, Preset},
};

pub(super) const MASK: &str = "********";
/// Longer values are cut in faults; a person needs to recognise the value, not to read it.
const SHOWN_LENGTH: usize = 80;
const LIST_LENGTH: usize = 1000;

/// The value in the form that the structs take, or nothing if it is not what `kind` asks for.
pub(super) fn read(kind: &Kind, value: &ValueKind) -> Option<ValueKind> {
    let text = match value {
        ValueKind::String(text) => Some(text.as_str()),
        _ => None,
    };
    match kind {
        // The rule of a secret URL parses by itself: there may be several.
        Kind::Text(rule) | Kind::Secret(rule) | Kind::SecretUrl(rule) => {
            text.filter(|text| (rule.holds)(text)).map(ValueKind::from)
        }
        Kind::Url(rule) => text
            .filter(|text| Url::parse(text).is_ok() && (rule.holds)(text))
            .map(ValueKind::from),
        Kind::Flag => matches!(value, ValueKind::Boolean(_)).then(|| value.clone()),
        Kind::Number { min, max } => match value {
            ValueKind::I64(number) if u64::try_from(*number).is_ok_and(|number| (*min..=*max).contains(&number)) => {
                Some(value.clone())
            }
            _ => None,
        },
        Kind::Span { min, max } => text
            .filter(|text| humantime::parse_duration(text).is_ok_and(|span| (*min..=*max).contains(&span)))
            .map(ValueKind::from),
        Kind::Address => text.filter(|text| text.parse::<IpAddr>().is_ok()).map(ValueKind::from),
        Kind::Choice(choices) => text.filter(|text| choices.contains(text)).map(ValueKind::from),
        Kind::Networks => list(value, |text| {
            let network = text
                .parse::<IpNet>()
                .ok()
                .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.map(|network| network.to_string())
        }),
        Kind::Texts(rule) => list(value, |text| (rule.holds)(text).then(|| text.to_owned())),
        Kind::Section(_) | Kind::Map(_) | Kind::List(_) => None,
    }
}

fn list(value: &ValueKind, item: impl Fn(&str) -> Option<String>) -> Option<ValueKind> {
    let ValueKind::Array(values) = value else { return None };
    let read_one = |value: &Value| match &value.kind {
        ValueKind::String(text) => item(text).map(|text| Value::new(value.origin().map(str::to_owned).as_ref(), text)),
        _ => None,
    };
    let items: Option<Vec<Value>> = values.iter().map(read_one).collect();
    items.filter(|items| items.len() <= LIST_LENGTH).map(ValueKind::Array)
}

/// Completes "must be ...".
pub(super) fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Text(rule) | Kind::Secret(rule) | Kind::Url(rule) | Kind::SecretUrl(rule) => rule.allowed.to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Span { min, max } => {
            format!(
                "a duration from {} to {}, such as \"500ms\", \"30s\" or \"24h\"",
                span_text(*min),
                span_text(*max)
            )
        }
        Kind::Address => "an IP address, such as \"127.0.0.1\" or \"::\"".to_owned(),
        Kind::Networks => {
            format!(
                "a list of at most {LIST_LENGTH} networks or addresses, such as \"10.0.0.0/8\" (comma separated in a variable)"
            )
        }
        Kind::Texts(rule) => {
            format!(
                "a list of at most {LIST_LENGTH}, each {} (comma separated in a variable)",
                rule.allowed
            )
        }
        Kind::Choice(choices) => {
            let quoted: Vec<String> = choices.iter().map(|choice| quoted_text(choice)).collect();
            format!("one of {}", quoted.join(", "))
        }
        Kind::Section(_) | Kind::Map(_) => "a section".to_owned(),
        Kind::List(_) => "a list of tables".to_owned(),
    }
}

fn span_text(span: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let millis = span.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    UNITS.iter().find(|(unit, _)| millis.is_multiple_of(*unit)).map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

/// A valid value for a refused one, so that everything else can still be checked. Never used to run.
pub(super) fn stand_in(kind: &Kind) -> ValueKind {
    match kind {
        Kind::Text(_) | Kind::Secret(_) | Kind::SecretUrl(_) => ValueKind::from(""),
        Kind::Url(_) => ValueKind::from("https://stand-in.invalid"),
        Kind::Flag => ValueKind::from(false),
        Kind::Number { min, .. } => i64::try_from(*min).map_or_else(|_| ValueKind::from(*min), ValueKind::from),
        Kind::Span { min, .. } => ValueKind::from(format!("{}ms", min.as_millis())),
        Kind::Address => ValueKind::from("127.0.0.1"),
        Kind::Choice(choices) => ValueKind::from(choices.first().copied().unwrap_or_default()),
        Kind::Networks | Kind::Texts(_) | Kind::List(_) => ValueKind::Array(Vec::new()),
        // A section's is made of its keys' by the walk.
        Kind::Section(_) | Kind::Map(_) => ValueKind::Table(config::Map::new()),
    }
}

pub(super) fn preset(preset: Preset) -> ValueKind {
    match preset {
        Preset::Text(text) => ValueKind::from(text),
        Preset::Flag(flag) => ValueKind::from(flag),
        Preset::Number(number) => ValueKind::from(number),
    }
}

/// The value for people, with secrets masked.
pub(super) fn masked(kind: &Kind, value: &ValueKind) -> ValueKind {
    match (kind, value) {
        (Kind::SecretUrl(_) | Kind::Url(_), ValueKind::String(text)) => ValueKind::from(masked_url(text)),
        (Kind::Secret(_) | Kind::SecretUrl(_) | Kind::Url(_), _) => ValueKind::from(MASK),
        (_, value) => value.clone(),
    }
}

/// Hides the password, and all of it where a badly escaped password may have ended up in another part.
fn masked_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return MASK.to_owned();
    };
    let misplaced = |part: &str| part.contains('@') || part.contains("%40");
    if url.fragment().is_some() || misplaced(url.path()) || url.query().is_some_and(misplaced) {
        return MASK.to_owned();
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if url.password().is_none() && pairs.iter().all(|(name, _)| is_harmless(name)) {
        return text.to_owned();
    }
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if !pairs.is_empty() {
        let shown = pairs.into_iter().map(|(name, value)| {
            let value = if is_harmless(&name) { value } else { MASK.to_owned() };
            (name, value)
        });
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.to_string()
}

/// Whether a URL's query parameter of this name holds no secret.
fn is_harmless(name: &str) -> bool {
    ["sslmode", "host", "port", "dbname", "application_name", "protocol"].contains(&name)
}

/// For a fault's line: nothing where the value is, or may hold, a secret.
pub(super) fn shown(kind: &Kind, value: &ValueKind) -> Option<String> {
    match (kind, value) {
        (Kind::Secret(_) | Kind::SecretUrl(_), _) | (_, ValueKind::Table(_) | ValueKind::Nil) => None,
        (Kind::Url(_), ValueKind::String(text)) if text.contains('@') || text.contains('?') => None,
        (_, ValueKind::String(text)) => {
            let cut: String = text.chars().take(SHOWN_LENGTH).collect();
            let more = if cut.len() < text.len() { "..." } else { "" };
            Some(format!("{}{more}", quoted_text(&cut)))
        }
        (_, ValueKind::Array(values)) => {
            let items: Vec<String> = values
                .iter()
                .take(5)
                .filter_map(|item| shown(kind, &item.kind))
                .collect();
            let more = if items.len() < values.len() { ", ..." } else { "" };
            Some(format!("[{}{more}]", items.join(", ")))
        }
        (_, other) => Some(other.to_string()),
    }
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
