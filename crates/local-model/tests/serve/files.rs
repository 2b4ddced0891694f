//! Files that cannot be used: a sentence each, and no end by a signal.

use std::{fs, io::Write, path::Path};

use local_model::engine::Model;

use crate::support::tiny_model::TinyModel;

fn error_of(path: &Path) -> String {
    let error = Model::load(path).err().expect("the file is refused");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.gguf");
    TinyModel::default().write(&whole);
    let bytes = fs::read(&whole).unwrap();
    let cut = folder.path().join("cut.gguf");
    for length in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
        fs::write(&cut, &bytes[..length]).unwrap();
        error_of(&cut);
    }
}

#[test]
fn a_file_with_a_bit_changed_is_refused_or_loads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::default().write(&path);
    let whole = fs::read(&path).unwrap();
    // The header: the rest is numbers, any of which are a model.
    for at in (0..whole.len().min(6000)).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x80;
        fs::write(&path, &bytes).unwrap();
        drop(Model::load(&path));
    }
}

#[test]
fn claims_beyond_the_file_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims.gguf");
    let header = |tensors: u64, keys: u64, rest: &[u8]| {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes.extend(rest);
        bytes
    };
    for bytes in [
        header(1 << 40, 0, &[]),
        header(0, 1 << 40, &[]),
        header(0, 1, &(1u64 << 63).to_le_bytes()),
    ] {
        fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
        error_of(&path);
    }
}

#[test]
fn what_is_no_model_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, "<html>Sign in</html>").unwrap();
    assert!(error_of(&path).contains("not a GGUF file"));
    assert!(error_of(folder.path()).contains("not a GGUF file"));
    assert!(error_of(&folder.path().join("nothing")).contains("cannot be opened"));

    let other = |tiny: TinyModel| {
        tiny.write(&path);
        error_of(&path)
    };
    let no_template = other(TinyModel {
        template: None,
        ..TinyModel::default()
    });
    assert!(no_template.contains("no chat template"), "{no_template}");
    let architecture = other(TinyModel {
        architecture: "mamba",
        ..TinyModel::default()
    });
    assert!(
        architecture.contains("mamba") && architecture.contains("supported are"),
        "{architecture}"
    );
    let rules = other(TinyModel {
        rules: "viking",
        ..TinyModel::default()
    });
    assert!(rules.contains("viking") && rules.contains("smollm"), "{rules}");
}
