//! What is kept outside the database for speed. Nothing here is the only copy of anything.

pub mod redis;
