//! What rendered Markdown must look like. For the tests, and for `fuzz/`.

use super::escape::is_safe_url;

const TAGS: [&str; 26] = [
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "div",
    "em",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "input",
    "li",
    "ol",
    "p",
    "pre",
    "strong",
    "sub",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
];
const ATTRIBUTES: [&str; 14] = [
    "align",
    "aria-label",
    "checked",
    "class",
    "dir",
    "disabled",
    "href",
    "rel",
    "start",
    "tabindex",
    "target",
    "title",
    "type",
    "",
];

/// Whether this is made of our elements and attributes only, properly nested and quoted. Strict: it knows what we write, not
/// what browsers take.
pub fn check(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '>']) {
        if rest.as_bytes()[at] == b'>' {
            return Err(format!("a bare > in {rest:.80}"));
        }
        let end = at + rest[at..].find('>').ok_or("a tag without end")?;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !TAGS.contains(&name) {
            return Err(format!("<{name}>"));
        }
        // Around a table, and nothing else.
        if name == "div" && !(attributes.starts_with("class=\"table\"") && rest.starts_with("<table>")) {
            return Err(format!("<{tag}>{rest:.20}"));
        }
        if open.contains(&"a") && name == "a" {
            return Err("a link in a link".to_owned());
        }
        let mut parts = attributes.split('"');
        while let Some(bare) = parts.next() {
            let value = parts.next();
            for word in bare.split_whitespace() {
                let allowed = ATTRIBUTES.contains(&word.trim_end_matches('='));
                if !allowed || (value.is_none() && word.ends_with('=')) {
                    return Err(format!("{word} in <{tag}>"));
                }
            }
            if let Some(value) = value
                && bare.trim() == "href="
                && !is_safe_url(value)
            {
                return Err(format!("href={value}"));
            }
        }
        if !["br", "hr", "input"].contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("{open:?} left open"))
    }
}
