//! The state file: how MapleAI knows of the model.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::weights::cache::write_beside;

const MAX_REASON: usize = 500;

/// What is true now. `{"state":"building"}` is written by the script that builds this program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    Building,
    Downloading {
        percent: u64,
    },
    Loading,
    Ready {
        /// Base of the OpenAI API, on loopback.
        url: String,
        /// For `Authorization: Bearer KEY`; new at each start.
        key: String,
        /// The model's id in calls.
        model: String,
    },
    Restarting {
        reason: String,
    },
    /// One sentence with what to do.
    Failed {
        reason: String,
    },
}

/// The file, replaced in one step so that nobody reads half of it; only its owner may, since the key is in it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    last: Option<State>,
}

impl StateFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    /// Writes a state that differs from the last one.
    pub fn set(&mut self, mut state: State) -> io::Result<()> {
        if let State::Restarting { reason } | State::Failed { reason } = &mut state {
            *reason = reason
                .chars()
                .filter(|letter| !letter.is_control())
                .take(MAX_REASON)
                .collect();
        }
        if self.last.as_ref() == Some(&state) {
            return Ok(());
        }
        if let Some(folder) = self.path.parent().filter(|folder| *folder != Path::new("")) {
            fs::create_dir_all(folder)?;
        }
        write_beside(&self.path, &serde_json::to_vec(&state)?)?;
        self.last = Some(state);
        Ok(())
    }

    /// Says that there is no model any more.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_has_one_line_of_json_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/state.json");
        let mut file = StateFile::new(path.clone());
        file.set(State::Downloading { percent: 42 }).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            r#"{"state":"downloading","percent":42}"#
        );
        file.set(State::Loading).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"state":"loading"}"#);
        file.set(State::Failed {
            reason: "a\nb".repeat(1000),
        })
        .unwrap();
        assert!(fs::read_to_string(&path).unwrap().len() < 600);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
