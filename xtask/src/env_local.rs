//! `.env.local`, which MapleAI reads in development, as far as the tasks around it have to know.

use std::fs;

use crate::{checkout::Checkout, program::variable};

/// The value that the file gives the first of these names that it has.
pub(crate) fn value(checkout: &Checkout, names: &[&str]) -> Option<String> {
    let text = fs::read_to_string(checkout.path(".env.local")).unwrap_or_default();
    value_in(&text, names)
}

/// What the environment says goes first.
pub(crate) fn setting(checkout: &Checkout, names: &[&str]) -> Option<String> {
    let set = names.iter().find_map(|name| variable(name));
    set.or_else(|| value(checkout, names))
}

fn value_in(text: &str, names: &[&str]) -> Option<String> {
    let found = names.iter().find_map(|name| {
        text.lines().find_map(|line| {
            let line = line.strip_prefix("export").map_or(line, str::trim_start);
            line.strip_prefix(name)?.strip_prefix('=')
        })
    })?;
    let value = found.trim_end().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::value_in;

    #[test]
    fn the_first_name_that_is_there_gives_the_value_without_its_quotes() {
        let text = "# PORT=1\nPORTS=2\nexport PORT=\"3001\"\nREDIS_URL=redis://a/?b='c\nEMPTY=\n";
        assert_eq!(value_in(text, &["MISSING", "PORT"]).as_deref(), Some("3001"));
        assert_eq!(value_in(text, &["REDIS_URL"]).as_deref(), Some("redis://a/?b='c"));
        assert_eq!(value_in(text, &["EMPTY"]), None);
    }
}
