//! Where a value sits in the configuration: `server.port`, `models[2].id`.

use std::fmt;

use serde_json::Value as Json;

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(Vec<PathSegment>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PathSegment {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(PathSegment::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(PathSegment::Index(index))
    }

    fn with(&self, segment: PathSegment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Its keys; none if it leads into a list.
    pub(super) fn keys(&self) -> Option<Vec<&str>> {
        let keys = self.0.iter().map(|segment| match segment {
            PathSegment::Key(key) => Some(key.as_str()),
            PathSegment::Index(_) => None,
        });
        keys.collect()
    }

    /// Whether it is one of a list.
    pub(super) fn is_item(&self) -> bool {
        matches!(self.0.last(), Some(PathSegment::Index(_)))
    }

    /// What it is in, and its key there; nothing for one of a list.
    pub(super) fn split(&self) -> Option<(Self, &str)> {
        match self.0.split_last()? {
            (PathSegment::Key(key), parent) => Some((Self(parent.to_vec()), key)),
            (PathSegment::Index(_), _) => None,
        }
    }

    /// As TOML heads what is in it.
    pub(super) fn heading(&self) -> String {
        match self.0.split_last() {
            Some((PathSegment::Index(_), list)) => format!("[[{}]]", Self(list.to_vec())),
            _ => format!("[{self}]"),
        }
    }

    /// Its place in a JSON document, which is made where it is not there.
    pub(super) fn json_entry<'j>(&self, root: &'j mut Json) -> &'j mut Json {
        self.0.iter().fold(root, |at, segment| match segment {
            PathSegment::Key(key) => &mut at[key.as_str()],
            PathSegment::Index(index) => {
                if let Json::Array(items) = at {
                    items.resize_with(items.len().max(index + 1), Json::default);
                }
                &mut at[*index]
            }
        })
    }

    /// The environment variable that sets this value; none for what sits inside a list.
    pub(crate) fn variable(&self) -> Option<String> {
        let keys = self.keys()?.join("__");
        Some(format!("MAPLE__{}", keys.to_ascii_uppercase().replace('-', "_")))
    }
}

impl<const N: usize> From<[&str; N]> for Path {
    fn from(keys: [&str; N]) -> Self {
        Self(keys.map(|key| PathSegment::Key(key.to_owned())).into())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, segment)| match segment {
            PathSegment::Index(index) => write!(f, "[{index}]"),
            PathSegment::Key(key) => write!(f, "{}{}", if at > 0 { "." } else { "" }, quoted_key(key)),
        })
    }
}

/// The key as TOML writes it: bare where it can be.
pub(crate) fn quoted_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        quoted_text(key)
    }
}

/// The text as a TOML basic string; on one line whatever it holds.
pub(crate) fn quoted_text(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' | '\\' | '\n' | '\r' | '\t' => character.escape_default().to_string(),
        control if control.is_control() => format!("\\u{:04X}", u32::from(control)),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn written_as_in_a_file_and_as_a_variable() {
        let path = Path::from(["providers", "open-ai", "headers", "x.y"]);
        assert_eq!(path.to_string(), "providers.open-ai.headers.\"x.y\"");
        assert_eq!(
            Path::from(["server", "port"]).variable().as_deref(),
            Some("MAPLE__SERVER__PORT")
        );
        let item = Path::from(["models"]).index(2).key("id");
        assert_eq!(item.to_string(), "models[2].id");
        assert_eq!(item.variable(), None);
    }
}
