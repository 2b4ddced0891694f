//! Holds names to the word list of CONTRIBUTING.md: one word for one thing, and the field's word where it has one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so"
)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Identifiers that read badly, and what to say instead. A `*` at the end stands for any further characters.
const AVOID: &[(&str, &str)] = &[
    ("MOST_*", "MAX_…"),
    ("most_bytes", "max_bytes"),
    ("LONGEST_*", "MAX_…"),
    ("PATIENCE", "…_TIMEOUT"),
    ("patience", "timeout"),
    ("NAP", "POLL_INTERVAL"),
    ("told", "what it is: context, error, message, …"),
    ("Told", "what it is: ReportedState, LoggingExporter, …"),
    ("known", "what it is: cached, existing, listed, …"),
    ("held", "entries, retained, permits, …"),
    ("turn", "permit, slot, index, message, …"),
    ("Turn", "QueuePermit, RenderSlot, PromptMessage, …"),
    ("under_way", "in_flight"),
    ("owe", "mark_pending"),
    ("owes", "has_pending"),
    ("Debt", "PendingInvalidation"),
    ("spread", "broadcast_invalidation"),
    ("Passage", "RequestScope"),
    ("Begun", "ResponseHead"),
    ("NotBegun", "StartError"),
    ("Strangers", "UnknownCredentials"),
    ("newcomers", "registrations"),
    ("tend", "maintain"),
    ("carry_out", "run_detached"),
    ("Failure", "ApiError"),
    ("because", "with_source"),
    ("judge", "record_error"),
    ("forgive", "refund"),
    ("nobody", "the thing that is missing"),
    ("well", "pass"),
    ("ill", "fail"),
];

#[test]
fn names_keep_to_the_word_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = String::new();
    for path in [
        sources(&root.join("src")),
        crate_sources(&root.join("crates")),
        sources(&root.join("xtask/src")),
    ]
    .concat()
    {
        let shown = path.strip_prefix(root).unwrap().display();
        for (line, word, better) in badly_named(&fs::read_to_string(&path).unwrap()) {
            writeln!(found, "{shown}:{line}: `{word}`; say {better}").unwrap();
        }
    }
    assert!(
        found.is_empty(),
        "names against the word list of CONTRIBUTING.md:\n{found}"
    );
}

#[test]
fn only_names_are_checked_and_each_is_reported_with_its_line_and_a_better_one() {
    let source = "//! What is told.\nfn f(told: u8) {}\nlet text = \"turn\"; // held\nconst MOST_BYTES: u8 = b't';\n\
                  let raw = r#\"a \"turn\" of 'x\"#; let retold = 1;\nfn g<'a>(turn: &'a str) {}\n";
    let found = badly_named(source);
    let lines: Vec<_> = found.iter().map(|(line, word, _)| (*line, word.as_str())).collect();
    assert_eq!(lines, [(2, "told"), (4, "MOST_BYTES"), (6, "turn")]);
    assert_eq!(found[1].2, "MAX_…");
}

/// Line, word and the better one for each identifier in `source` that [`AVOID`] lists.
fn badly_named(source: &str) -> Vec<(usize, String, &'static str)> {
    let code = without_text(source);
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let is_meant = |name: &str| match name.strip_suffix('*') {
                Some(start) => word.starts_with(start),
                None => word == name,
            };
            if let Some((_, better)) = AVOID.iter().find(|(name, _)| is_meant(name)) {
                found.push((index + 1, word.to_owned(), *better));
            }
        }
    }
    found
}

/// The source without comments and literals; line breaks stay.
fn without_text(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = text_length(rest, code.chars().next_back()).unwrap_or_else(|| {
            code.push(first);
            0
        });
        if length > 0 {
            code.push(' ');
            code.extend(rest[..length].matches('\n'));
        }
        rest = &rest[length.max(first.len_utf8())..];
    }
    code
}

/// Bytes of the comment or literal that `rest` begins with; `before` is the last character of the code before it.
fn text_length(rest: &str, before: Option<char>) -> Option<usize> {
    let ended_by = |from: usize, end: &str| Some(rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len()));
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return ended_by(2, "*/");
    }
    let is_in_name = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !is_in_name || before == Some('b')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return ended_by(hashes + 2, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            // A lifetime: no quote follows its first character.
            _ if quote == '\'' && at == 1 && !rest[1 + character.len_utf8()..].starts_with('\'') => return None,
            _ if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

fn crate_sources(crates: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path());
    folders.flat_map(|folder| sources(&folder.join("src"))).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
