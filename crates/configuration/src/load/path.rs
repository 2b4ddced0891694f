//! Where a value sits in the configuration: `server.port`, `models[2].id`.

use std::fmt::{self, Write as _};

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(Vec<PathSegment>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PathSegment {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(PathSegment::Key(key.to_owned()));
        Self(steps)
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(PathSegment::Index(index));
        Self(steps)
    }

    /// The environment variable that sets this value; none for what sits inside a list.
    pub(crate) fn variable(&self) -> Option<String> {
        let mut name = "MAPLE".to_owned();
        for step in &self.0 {
            let PathSegment::Key(key) = step else { return None };
            name.push_str("__");
            name.push_str(&key.to_ascii_uppercase().replace('-', "_"));
        }
        Some(name)
    }
}

impl<const N: usize> From<[&str; N]> for Path {
    fn from(keys: [&str; N]) -> Self {
        keys.iter().collect()
    }
}

impl<T: AsRef<str>> FromIterator<T> for Path {
    fn from_iter<I: IntoIterator<Item = T>>(keys: I) -> Self {
        Self(
            keys.into_iter()
                .map(|key| PathSegment::Key(key.as_ref().to_owned()))
                .collect(),
        )
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                PathSegment::Index(index) => write!(f, "[{index}]")?,
                PathSegment::Key(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(&quoted_key(key))?;
                }
            }
        }
        Ok(())
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
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => _ = write!(quoted, "\\u{:04X}", u32::from(other)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
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
