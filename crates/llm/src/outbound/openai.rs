//! OpenAI's API as its many servers speak it: what an answer or a chunk says, whether it is complete, and frames of a stream.

pub mod answer;
pub mod chunk;
pub mod fault;
pub mod frames;
pub mod said;
