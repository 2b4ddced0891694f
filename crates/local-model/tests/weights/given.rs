//! A file that a person names in place of the model.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use super::Bench;

fn refused(bench: &mut Bench, name: &str) -> String {
    let path = bench.folder.path().join(name);
    bench.settings.given = Some(path.clone());
    let message = bench.obtain().unwrap_err().to_string();
    assert!(message.contains(path.to_str().unwrap()), "the path is told: {message}");
    message
}

#[test]
fn a_gguf_file_is_taken_as_it_is() {
    let mut bench = Bench::new();
    let path = bench.folder.path().join("other.gguf");
    fs::write(&path, &bench.model).unwrap();
    bench.settings.given = Some(path.clone());
    assert_eq!(bench.obtain().unwrap(), path);
}

#[test]
fn what_is_no_gguf_file_is_refused_with_its_reason() {
    let mut bench = Bench::new();
    let folder = bench.folder.path().to_owned();
    fs::write(folder.join("text"), "This is no model but a letter to somebody.").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    assert!(refused(&mut bench, "text").contains("begins with \"This\""));
    assert!(refused(&mut bench, "empty").contains("0 bytes"));
    assert!(refused(&mut bench, "folder").contains("folder"));
    assert!(refused(&mut bench, "pipe").contains("no regular file"));
    assert!(refused(&mut bench, "missing").contains("no such file"));
}

#[test]
fn a_file_that_may_not_be_read_is_told_so() {
    let mut bench = Bench::new();
    let path = bench.folder.path().join("closed");
    fs::write(&path, &bench.model).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // root may read it all the same.
    if fs::File::open(&path).is_err() {
        assert!(refused(&mut bench, "closed").contains("may not read"));
    }
}
