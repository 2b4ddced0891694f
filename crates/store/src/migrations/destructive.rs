//! What takes something away, and whether somebody has looked at it. `mapleai checklist`, `mapleai migrate plan` and
//! `make k8s-test` share this list.

/// What a statement of an up migration begins with or holds when it takes something away from the release that runs.
pub const DESTRUCTIVE: [&str; 9] = [
    "DROP TABLE",
    "DROP COLUMN",
    "DROP CONSTRAINT",
    "DROP INDEX",
    "DROP TYPE",
    "RENAME",
    "TRUNCATE",
    "DELETE FROM",
    "SET NOT NULL",
];
/// Those after which rows or values are gone.
const LOSES_DATA: [&str; 4] = ["DROP TABLE", "DROP COLUMN", "TRUNCATE", "DELETE FROM"];

/// Which of the words a migration has.
pub fn destructive(text: &str) -> Vec<&'static str> {
    found(text, &DESTRUCTIVE)
}

/// Which of those after which data is gone.
pub fn loses_data(text: &str) -> Vec<&'static str> {
    found(text, &LOSES_DATA)
}

fn found(text: &str, words: &[&'static str]) -> Vec<&'static str> {
    let statements = without_comments(text).to_uppercase();
    let text = statements.split_whitespace().collect::<Vec<_>>().join(" ");
    words.iter().copied().filter(|word| text.contains(word)).collect()
}

/// The statements of a file.
pub fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// A review, a line of `migrations/reviewed.txt`, names the file as it is, somebody, and a reason.
pub fn is_reviewed(reviews: &str, name: &str, sum: &str) -> bool {
    reviews.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() >= 4 && words[0] == sum && words[1] == name
    })
}
