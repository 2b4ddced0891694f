//! `make image`, `make image-test` and `make model-image-test`: images are built, run and held to what is said of them.

mod engine;

use std::{fs, path::PathBuf, process::ExitCode};

use crate::{
    checkout::Checkout,
    delivery_tests,
    error::TaskError,
    jobs::Jobs,
    program::{self, variable},
    say,
    services::{Service, Services},
    suites::text_of,
};

use engine::Engine;

/// The image as IMAGE names it, or as mapleai:<commit>.
pub(crate) fn build(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    let engine = Engine::find(&jobs, checkout)?;
    build_service(&jobs, checkout, &engine)?;
    Ok(ExitCode::SUCCESS)
}

fn build_service(jobs: &Jobs, checkout: &Checkout, engine: &Engine) -> Result<String, TaskError> {
    let revision = checkout.head()?;
    let image = variable("IMAGE").unwrap_or_else(|| format!("mapleai:{revision:.12}"));
    let created = program::output(&mut checkout.git(&["show", "-s", "--format=%cI", "HEAD"]))?;
    let manifest = checkout.path("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).map_err(TaskError::file(&manifest))?;
    let version = version_in(&manifest).unwrap_or_default();
    engine.build_image(
        jobs,
        checkout,
        &image,
        &[
            format!("--build-arg=VERSION={version}"),
            format!("--build-arg=REVISION={revision}"),
            format!("--build-arg=CREATED={created}"),
        ],
    )?;
    say(&format!("Built {image}"));
    Ok(image)
}

/// Builds the image and runs it against a PostgreSQL of its own. What was found goes to docs/reports/image.json with `report`, else it is only
/// printed.
pub(crate) fn test(checkout: &Checkout, report: bool) -> Result<ExitCode, TaskError> {
    const DATABASE: &str = "image_test";
    let jobs = Jobs::begin()?;
    let engine = Engine::find(&jobs, checkout)?;
    let image = build_service(&jobs, checkout, &engine)?;
    let services = Services::start(&jobs, checkout, &[Service::Postgres])?;
    services.create_anew(DATABASE)?;
    let report = if report {
        checkout.path("docs/reports/image.json")
    } else {
        services.path("image.json")
    };
    let mut tests = pytest(&jobs, checkout, &engine, "test_image.py")?;
    tests
        .env("MAPLE_IMAGE", image)
        .env("MAPLE_REVISION", checkout.head()?)
        .env("MAPLE_REPORT", &report);
    let status = jobs.run(tests.env("TEST_DATABASE_URL", services.database_url(DATABASE)))?;
    if status == 0 {
        say(&text_of(&report));
    }
    services.sql("postgres", &format!("DROP DATABASE {DATABASE} WITH (FORCE)"))?;
    Ok(ExitCode::from(status))
}

/// The image of the small model, which compose.yaml runs beside MapleAI. Not a part of `make image-test`: building it takes minutes, and it
/// needs the model's file, which `make run` or `local-model fetch` fetches.
pub(crate) fn test_local_model(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let fetched = || Checkout::cache().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let file = variable("LOCAL_MODEL").map_or_else(fetched, PathBuf::from);
    if !file.is_file() {
        let file = file.display();
        return TaskError::refused(format!(
            "{file} is not there: `make run` fetches it, and LOCAL_MODEL=PATH names another one"
        ));
    }
    let jobs = Jobs::begin()?;
    let engine = Engine::find(&jobs, checkout)?;
    let image = variable("IMAGE").unwrap_or_else(|| "mapleai-local-model:test".to_owned());
    engine.build_image(&jobs, checkout, &image, &["--target=local-model".to_owned()])?;
    let mut tests = pytest(&jobs, checkout, &engine, "test_local_model_image.py")?;
    tests.env("MAPLE_IMAGE", image).env("MAPLE_MODEL_FILE", file);
    jobs.run(&mut tests).map(ExitCode::from)
}

/// A client of the engine too.
fn pytest(jobs: &Jobs, checkout: &Checkout, engine: &Engine, file: &str) -> Result<std::process::Command, TaskError> {
    let mut tests = delivery_tests::pytest(jobs, checkout, file)?;
    engine.name_to(&mut tests);
    Ok(tests)
}

/// The first of a manifest, which is the workspace's.
fn version_in(manifest: &str) -> Option<&str> {
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""))?;
    line.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn the_version_is_the_workspaces() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\n[dependencies]\naxum = { version = \"0.8\" }\n";
        assert_eq!(version_in(manifest), Some("0.1.0"));
    }
}
