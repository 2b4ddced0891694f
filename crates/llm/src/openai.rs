//! What OpenAI's API says: requests as callers send them, and answers in their two forms, whole and streamed.

pub mod answer;
pub mod conversion;
pub mod frames;
pub mod request;
