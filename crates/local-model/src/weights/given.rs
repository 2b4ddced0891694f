//! A model file that a person named: checked before anything maps it.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::WeightsError;

/// First bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Magic, version, and the two counts that follow.
const HEADER: u64 = 24;

/// Refuses what is no regular, readable file with the beginning of a GGUF file. What follows is checked by whoever loads it.
pub fn check(path: &Path) -> Result<(), WeightsError> {
    let unusable = |reason: String| WeightsError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let about = fs::metadata(path).map_err(|error| unusable(reason_of(&error)))?;
    if about.is_dir() {
        return Err(unusable("it is a folder; name the file in it".to_owned()));
    }
    // Opening a pipe or a device could wait for ever.
    if !about.is_file() {
        return Err(unusable("it is no regular file".to_owned()));
    }
    if about.len() < HEADER {
        return Err(unusable(format!(
            "it has {} bytes, less than the header of a GGUF file",
            about.len()
        )));
    }
    let mut magic = [0; 4];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .map_err(|error| unusable(reason_of(&error)))?;
    if magic != MAGIC {
        return Err(unusable(format!(
            "it begins with \"{}\", a GGUF file begins with \"GGUF\"",
            magic.escape_ascii()
        )));
    }
    Ok(())
}

fn reason_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    }
}
