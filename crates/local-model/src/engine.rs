//! The engine: a GGUF file of a chat model, read into memory, and the thread that computes answers with it.

pub mod generation;
pub mod hyperparameters;
pub mod network;
pub mod prompt;
pub mod sampler;
pub mod scheduler;
pub mod text;
pub mod vocabulary;
pub mod weights;

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use candle_core::quantized::gguf_file::Content;

use hyperparameters::{HyperparameterError, Hyperparameters};
use network::Network;
use prompt::{Template, TemplateError};
use vocabulary::{Vocabulary, VocabularyError};
use weights::{WeightError, WeightFile};

/// Why a file cannot be used. Each is a sentence about the file, to be put behind its path.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    #[error("it is not a GGUF file, or a damaged one")]
    Header(#[source] candle_core::Error),
    #[error(transparent)]
    Shape(#[from] HyperparameterError),
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Weights(#[from] WeightError),
}

/// The longest conversation that is taken, in tokens: so much memory is known to suffice.
pub const MAX_CONTEXT: usize = 4096;

/// A chat model, ready to answer.
pub struct Model {
    /// For people, such as "SmolLM2 135M".
    pub name: String,
    pub network: Network,
    pub vocabulary: Vocabulary,
    pub template: Template,
    /// Tokens of the longest conversation, its answer included.
    pub context: usize,
}

impl Model {
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let mut reader = BufReader::new(File::open(path).map_err(LoadError::Open)?);
        let content = Content::read(&mut reader).map_err(LoadError::Header)?;
        let shape = Hyperparameters::read(&content)?;
        let vocabulary = Vocabulary::read(&content)?;
        let template = Template::read(&content)?;
        let longest = shape.context.min(MAX_CONTEXT);
        let name = name_of(path);
        let mut file = WeightFile { content, reader };
        let network = Network::load(
            &mut file,
            shape,
            vocabulary.count(),
            u32::try_from(longest).unwrap_or(u32::MAX),
        )?;
        Ok(Self {
            name,
            network,
            vocabulary,
            template,
            context: longest,
        })
    }
}

/// What a file's name says of the model: all but that it is for chat, and how its numbers are packed.
fn name_parts(path: &Path) -> Vec<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let is_known = |part: &str| {
        let part = part.to_lowercase();
        let packing = part.strip_prefix("iq").or(part.strip_prefix('q')).unwrap_or_default();
        packing.starts_with(|first: char| first.is_ascii_digit())
            || matches!(part.as_str(), "f16" | "f32" | "bf16" | "instruct" | "chat" | "it")
    };
    let parts = stem
        .split(['-', '.', ' '])
        .filter(|part| !part.is_empty() && !is_known(part));
    let parts: Vec<String> = parts.map(|part| part.chars().take(40).collect()).collect();
    if parts.is_empty() {
        vec!["model".to_owned()]
    } else {
        parts
    }
}

/// `SmolLM2-135M-Instruct.Q4_1.gguf` is "SmolLM2 135M" to people.
pub fn name_of(path: &Path) -> String {
    name_parts(path).join(" ")
}

/// `SmolLM2-135M-Instruct.Q4_1.gguf` is `smollm2-135m` in calls.
pub fn id_of(path: &Path) -> String {
    name_parts(path).join("-").to_lowercase()
}
