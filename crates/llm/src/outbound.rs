//! What providers speak: answers, whole and streamed, and what is read of each. Of a vendor with another API than OpenAI's also what makes its
//! requests of OpenAI's, and OpenAI's answers of its own.

pub mod openai;

pub use openai::chunk::{BodyUsage, ChunkInfo, ReportedUsage};
