//! What providers speak: answers, whole and streamed, and what is read of each. Of a vendor with another API than OpenAI's also what makes its
//! requests of OpenAI's, and OpenAI's answers of its own.

//!
//! OpenAI's form is the one form inside, so that what is asked of an answer, whichever vendor gave it, is asked by what stands here.

pub mod openai;

pub use openai::{
    answer::{NoAnswer, WholeAnswer, is_full, read},
    chunk::{BodyUsage, ChunkInfo, ReportedUsage, usage_of_body},
    frames::of_stored,
};
