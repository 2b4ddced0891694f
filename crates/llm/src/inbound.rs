//! What callers speak: requests as they send them, and what is read of each.

pub mod openai;
