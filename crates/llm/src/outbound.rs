//! What providers speak: answers, whole and streamed, and what is read of each.

pub mod openai;

pub use openai::chunk::{BodyUsage, ChunkInfo, ReportedUsage};
