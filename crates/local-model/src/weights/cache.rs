//! The folder of fetched files, and the record that spares hashing a file at each start.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::{Model, Progress, WeightsError};

/// A part of which nothing came for so long is of no use to anybody.
const OLD: Duration = Duration::from_hours(7 * 24);

/// Where the file of one model is, and what is beside it.
#[derive(Debug)]
pub struct Place {
    model: Model,
    pub(crate) folder: PathBuf,
    /// The file itself.
    pub(crate) file: PathBuf,
    /// What has come of a transfer.
    pub(crate) download: PathBuf,
    /// What was taken out of a wheel so far.
    pub(crate) unpacked: PathBuf,
}

/// Written beside a file that was hashed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verified {
    size: u64,
    /// Time of the last change in nanoseconds since 1970.
    changed: u64,
    sha256: String,
}

impl Place {
    pub(crate) fn new(folder: &Path, model: &Model) -> Self {
        Self {
            model: model.clone(),
            folder: folder.to_owned(),
            file: folder.join(&model.file),
            download: folder.join(format!("{}.download.part", model.file)),
            unpacked: folder.join(format!("{}.part", model.file)),
        }
    }

    /// Whether the file is there and is the model's. One of another size or sum is removed, since it has to be fetched anew.
    pub(crate) fn has_verified(&self, progress: &mut dyn Progress) -> Result<bool, WeightsError> {
        let Ok(about) = fs::metadata(&self.file) else {
            return Ok(false);
        };
        let found = Verified {
            size: about.len(),
            changed: changed(&about),
            sha256: self.model.sha256.clone(),
        };
        let recorded = fs::read(self.record())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Verified>(&bytes).ok());
        if recorded.as_ref() == Some(&found) {
            return Ok(true);
        }
        let sum = if found.size == self.model.size {
            sha256_of(&self.file)?
        } else {
            String::new()
        };
        if sum == self.model.sha256 {
            self.write_record(&found);
            return Ok(true);
        }
        progress.note(&format!(
            "{} is not what was fetched once; it is fetched again",
            self.file.display()
        ));
        fs::remove_file(&self.file).map_err(|error| WeightsError::disk("removed", &self.file, error))?;
        Ok(false)
    }

    pub(crate) fn prepare(&self) -> Result<(), WeightsError> {
        fs::create_dir_all(&self.folder).map_err(|error| WeightsError::disk("made", &self.folder, error))
    }

    /// Gives a checked file its final name.
    pub(crate) fn keep(&self, checked: &Path) -> Result<(), WeightsError> {
        let failed = |error| WeightsError::disk("written", &self.file, error);
        // On the disk before it has the name: a machine that loses its power must not leave a hole under it.
        File::open(checked).and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(checked, &self.file).map_err(failed)?;
        let about = fs::metadata(&self.file).map_err(failed)?;
        self.write_record(&Verified {
            size: about.len(),
            changed: changed(&about),
            sha256: self.model.sha256.clone(),
        });
        Ok(())
    }

    /// Removes what transfers left a week ago, of this and of other models.
    pub(crate) fn remove_old_parts(&self, now: SystemTime) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_part = path
                .extension()
                .is_some_and(|extension| ["part", "from", "new"].iter().any(|recorded| extension == *recorded));
            let is_old = entry
                .metadata()
                .and_then(|about| about.modified())
                .is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age > OLD));
            if is_part && is_old {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn record(&self) -> PathBuf {
        self.folder.join(format!("{}.verified", self.model.file))
    }

    /// Without the record the file is hashed at the next start, which is no failure.
    fn write_record(&self, verified: &Verified) {
        if let Ok(text) = serde_json::to_vec(verified) {
            let _ = write_beside(&self.record(), &text);
        }
    }
}

/// Replaces a small file in one step.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// SHA-256 of a file in hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String, WeightsError> {
    let failed = |error| WeightsError::disk("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex::encode(sum.finish())),
            length => sum.update(&buffer[..length]),
        }
    }
}

fn changed(about: &fs::Metadata) -> u64 {
    about
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}
