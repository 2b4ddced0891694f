//! `make checklist`: what is not shown of this commit yet. By the binary in an image, where there is one already, as in the pipeline; else by
//! one that is built here.

use std::process::{Command, ExitCode};

use crate::{
    checkout::Checkout,
    error::TaskError,
    image::Image,
    program::{is_on_path, pass_on},
};

pub(crate) fn run(checkout: &Checkout, phase: &str, image: &str) -> Result<ExitCode, TaskError> {
    if !matches!(phase, "pre" | "during" | "post") {
        return TaskError::refused(format!("PHASE must be pre, during or post, not '{phase}'"));
    }
    if image.is_empty() {
        let cargo = checkout.path("scripts/dev/cargo.sh");
        return pass_on(Command::new(cargo).args([
            "run",
            "--quiet",
            "--locked",
            "--bin",
            "mapleai",
            "--",
            "checklist",
            phase,
        ]));
    }
    Image::parse(image)?;
    if !is_on_path("docker") {
        return TaskError::refused("docker is missing; without IMAGE the checklist is built here");
    }
    let volume = format!("{}:/checkout:ro", checkout.root.display());
    pass_on(
        Command::new("docker")
            .args(["run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL"])
            .args([
                "--security-opt=no-new-privileges",
                "--volume",
                &volume,
                image,
                "checklist",
                phase,
            ])
            .args(["--directory", "/checkout", "--commit", &checkout.head()?]),
    )
}
