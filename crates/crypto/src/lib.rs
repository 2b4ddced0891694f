//! Secrets: making, hashing, signing and comparing them.

pub mod access_token;
pub mod csrf;
pub mod device;
pub mod password;
pub mod pseudonym;
pub mod seal;
pub mod secret;
pub mod signing_keys;
