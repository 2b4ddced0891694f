//! What is read of tokens, proofs and secrets, and what is sealed.

#[path = "../../../crates/crypto/src/access_token.rs"]
pub mod access_token;
#[path = "../../../crates/crypto/src/csrf.rs"]
pub mod csrf;
#[path = "../../../crates/crypto/src/device.rs"]
pub mod device;
#[path = "../../../crates/crypto/src/seal.rs"]
pub mod seal;
#[path = "../../../crates/crypto/src/secret.rs"]
pub mod secret;
#[path = "../../../crates/crypto/src/signing_keys.rs"]
pub mod signing_keys;
