//! `make pin`: writes an image into the manifests of an environment, and the migration Job's name after it.

use std::{fs, path::Path, process::ExitCode};

use crate::{checkout::Checkout, environment::Environment, error::TaskError, image::Image, say};

/// What the migration Job is called, before the digits of its image.
const JOB_PREFIX: &str = "mapleai-migrate-";
const JOB_DIGITS: usize = 12;

pub(crate) fn run(checkout: &Checkout, environment: &str, image: &str) -> Result<ExitCode, TaskError> {
    let environment = Environment::parse(environment)?;
    pin(&checkout.path("k8s").join(environment.name()), image)?;
    Ok(ExitCode::SUCCESS)
}

/// Into `folder`, which is an overlay of kustomize.
pub(crate) fn pin(folder: &Path, image: &str) -> Result<(), TaskError> {
    let file = folder.join("kustomization.yaml");
    if !file.is_file() {
        return TaskError::refused(format!("{} has no kustomization.yaml", folder.display()));
    }
    let image = Image::parse(image)?;
    let text = fs::read_to_string(&file).map_err(TaskError::file(&file))?;
    let pinned = pinned(&text, &image);
    if !pinned.contains(&format!("digest: sha256:{}", image.digest)) {
        return TaskError::refused(format!("{} names no image", file.display()));
    }
    if !pinned.contains(&format!("{JOB_PREFIX}{}", image.short())) {
        return TaskError::refused(format!("{} names no migration", file.display()));
    }
    fs::write(&file, pinned).map_err(TaskError::file(&file))?;
    say(&format!(
        "{}: {}@sha256:{}...",
        folder.display(),
        image.name,
        image.short()
    ));
    Ok(())
}

/// Line by line, so that comments and order stay.
fn pinned(text: &str, image: &Image<'_>) -> String {
    let mut pinned = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches(' ');
        let indent = &line[..line.len() - content.len()];
        let end = if line.ends_with('\n') { "\n" } else { "" };
        if content.starts_with("newName: ") {
            pinned.extend([indent, "newName: ", image.name, end]);
        } else if content.starts_with("digest: ") {
            pinned.extend([indent, "digest: sha256:", image.digest, end]);
        } else {
            pinned.push_str(&with_job(line, image.short()));
        }
    }
    pinned
}

fn with_job(line: &str, digits: &str) -> String {
    let before = format!("value: {JOB_PREFIX}");
    let Some((head, rest)) = line.split_once(&before) else {
        return line.to_owned();
    };
    match rest.split_at_checked(JOB_DIGITS) {
        Some((old, tail)) if old.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{head}{before}{digits}{tail}")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::pinned;
    use crate::image::Image;

    #[test]
    fn name_digest_and_job_are_replaced_and_nothing_else() {
        let digest = "ab".repeat(32);
        let image = Image {
            name: "other/app",
            digest: &digest,
        };
        let text = "# digest: as it was\nimages:\n  - name: mapleai\n    newName: a/b\n    digest: sha256:00\npatches:\n\
                    \x20     value: mapleai-migrate-000000000000 # the Job\n      value: mapleai-migrate-short\n";
        let expected = format!(
            "# digest: as it was\nimages:\n  - name: mapleai\n    newName: other/app\n    digest: sha256:{digest}\npatches:\n\
             \x20     value: mapleai-migrate-abababababab # the Job\n      value: mapleai-migrate-short\n"
        );
        assert_eq!(pinned(text, &image), expected);
        assert_eq!(pinned(&expected, &image), expected);
    }

    #[test]
    fn a_file_without_a_line_break_at_its_end_keeps_it_so() {
        let image = Image { name: "a", digest: "1" };
        let digest = "1".repeat(64);
        let image = Image {
            digest: &digest,
            ..image
        };
        assert_eq!(pinned("newName: x", &image), "newName: a");
    }
}
