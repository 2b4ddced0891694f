//! What `make dev` watches. Polling sees every kind of change on every kind of file system and needs nothing installed; a few hundred files
//! take milliseconds.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::checkout::Checkout;

const WATCHED: [&str; 10] = [
    "src",
    "crates",
    "templates",
    "assets",
    "config",
    "migrations",
    ".sqlx",
    "Cargo.toml",
    "Cargo.lock",
    ".env.local",
];

/// Files with the time and size of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Watch(BTreeSet<(PathBuf, Option<SystemTime>, u64)>);

impl Watch {
    pub(super) fn look(checkout: &Checkout) -> Self {
        let mut seen = Self::default();
        for part in WATCHED {
            seen.add(&checkout.path(part));
        }
        seen
    }

    fn add(&mut self, path: &Path) {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return;
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok) {
                self.add(&entry.path());
            }
        } else if metadata.is_file() && !is_of_editor(path) {
            self.0
                .insert((path.to_owned(), metadata.modified().ok(), metadata.len()));
        }
    }
}

/// Editors' swap, backup and lock files.
fn is_of_editor(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_swap = name.starts_with('.') && name.rfind(".sw").is_some_and(|at| at > 0 && at + 4 == name.len());
    is_swap || name.ends_with('~') || name.starts_with(".#")
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use crate::checkout::Checkout;
    use std::fs;

    #[test]
    fn a_change_is_seen_and_an_editors_own_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let checkout = Checkout {
            root: folder.path().to_owned(),
        };
        let source = folder.path().join("src/deep");
        fs::create_dir_all(&source).unwrap();
        let empty = Watch::look(&checkout);
        fs::write(source.join("main.rs"), "fn main() {}").unwrap();
        let first = Watch::look(&checkout);
        assert_ne!(empty, first);
        for name in [".main.rs.swp", "main.rs~", ".#main.rs"] {
            fs::write(source.join(name), "").unwrap();
        }
        fs::write(folder.path().join("README.md"), "").unwrap();
        assert_eq!(first, Watch::look(&checkout));
        fs::write(source.join("main.rs"), "fn main() { }").unwrap();
        assert_ne!(first, Watch::look(&checkout));
    }
}
