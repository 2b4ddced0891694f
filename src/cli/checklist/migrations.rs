//! Whether each migration can be undone, and whether somebody has looked at those that take something away.
//!
//! `migrations/reviewed.txt` has a line for each of the latter: SHA-256 of the file, its name, who reviewed it, and why it is
//! safe. A change to the file makes its review void.

use std::{collections::BTreeMap, fs, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use store::migrations::destructive::{destructive, is_reviewed, without_comments};

/// How many there are, or the first that must not be deployed.
pub(super) fn look(directory: &Path) -> Result<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{} cannot be read: {error}", directory.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".up.sql") || name.ends_with(".down.sql") {
            let text = fs::read_to_string(entry.path()).map_err(|error| format!("{name} cannot be read: {error}"))?;
            files.insert(name, text);
        }
    }
    let reviews = fs::read_to_string(directory.join("reviewed.txt")).unwrap_or_default();
    let mut count = 0;
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".up.sql")) {
        count += 1;
        let down = name.replace(".up.sql", ".down.sql");
        let undone = files.get(&down).map(|text| without_comments(text)).unwrap_or_default();
        if undone.trim().is_empty() {
            return Err(format!("{name} cannot be undone: {down} is missing or empty"));
        }
        if let Some(word) = destructive(text).first()
            && !is_reviewed(&reviews, name, &sha256(text))
        {
            return Err(format!(
                "{name} has {word} and no review; whoever has reviewed it adds to migrations/reviewed.txt: {} {name} <who> <why it is safe>",
                sha256(text)
            ));
        }
    }
    Ok(format!(
        "{count} migrations, each reversible; destructive ones reviewed"
    ))
}

fn sha256(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{look, sha256};
    use std::fs;

    #[test]
    fn the_project_s_own_migrations_may_be_deployed() {
        let result = look(std::path::Path::new("migrations"));
        assert!(result.is_ok(), "{result:?}");
    }

    #[test]
    fn what_takes_away_needs_a_review_of_the_file_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let up = "-- DROP TABLE is only said here.\nALTER TABLE users\n    DROP\n    COLUMN nickname;\n";
        write("0001_x.up.sql", up);
        let result = look(folder.path()).unwrap_err();
        assert!(result.contains("0001_x.down.sql is missing"), "{result}");
        write("0001_x.down.sql", "ALTER TABLE users ADD COLUMN nickname text;\n");
        let result = look(folder.path()).unwrap_err();
        assert!(
            result.contains("0001_x.up.sql has DROP COLUMN and no review"),
            "{result}"
        );
        let review = |sum: &str| {
            write(
                "reviewed.txt",
                &format!("{sum} 0001_x.up.sql Ada nothing reads it since 1.4\n"),
            );
        };
        review(&sha256("before"));
        assert!(look(folder.path()).is_err());
        review(&sha256(up));
        assert!(look(folder.path()).is_ok());
        write("0001_x.up.sql", "-- DROP TABLE nothing\nSELECT 1;\n");
        assert!(look(folder.path()).is_ok());
    }
}
