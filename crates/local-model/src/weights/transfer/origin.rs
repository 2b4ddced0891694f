//! Where a part came from, written beside it: only a part of the same thing is gone on with.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// Address and version of what a part is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) address: String,
    /// A strong `ETag`, or else `Last-Modified`: what `If-Range` takes (RFC 9110, 13.1.5).
    pub(super) tag: Option<String>,
}

/// The address without a password and without a query, in which signed addresses have what changes each time.
pub(super) fn address(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

pub(super) fn path(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".from");
    name.into()
}

pub(super) fn of(part: &Path) -> Option<Origin> {
    fs::read(path(part))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Before the first byte of the part. Nothing: the part cannot be gone on with.
pub(super) fn note(part: &Path, origin: Option<&Origin>) -> io::Result<()> {
    let path = path(part);
    match origin {
        Some(origin) => super::write_beside(&path, &serde_json::to_vec(origin)?),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}
