//! What each reader must hold whatever it is given: a function per target, which `targets/` gives what libFuzzer makes up.
//!
//! Readers of crates with little around them are called there; of others the file is taken as it is, so that a build stays short.

#![allow(dead_code, reason = "of a file that is taken as it is not all is called")]

pub mod addresses;
pub mod answers;
pub mod canonical;
pub mod credentials;
pub mod events;
pub mod frames;
pub mod headers;
pub mod journal;
pub mod markdown;
pub mod requests;
pub mod secrets;
pub mod state_file;
pub mod texts;
pub mod upstream;

// `frames.rs` of the provider names these by the root of its crate.
use frames::surroundings::{EventStream, ProviderError};

/// The program of a target. Built without libFuzzer it does nothing.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$name::check(data));

        #[cfg(not(fuzzing))]
        fn main() {}
    };
}

/// Longer texts are not read byte by byte, so that more of them are tried.
const MAX_BYTE_BY_BYTE: usize = 1024;

/// The data in two: at a place that its last two bytes name.
fn cut(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, place) = data.split_last_chunk::<2>()?;
    let at = usize::from(u16::from_le_bytes(*place)) % (rest.len() + 1);
    Some(rest.split_at(at))
}
