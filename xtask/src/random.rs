//! Names, ports and passwords that nobody else has.

use std::{fmt::Write as _, fs::File, io::Read as _};

use crate::error::TaskError;

fn bytes<const N: usize>() -> Result<[u8; N], TaskError> {
    let mut bytes = [0; N];
    let source = "/dev/urandom";
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map(|()| bytes).map_err(TaskError::file(source))
}

/// Twice as many characters as bytes.
pub(crate) fn hex<const N: usize>() -> Result<String, TaskError> {
    let mut text = String::with_capacity(2 * N);
    for byte in bytes::<N>()? {
        _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

pub(crate) fn below(limit: u16) -> Result<u16, TaskError> {
    Ok(u16::from_le_bytes(bytes()?) % limit)
}

#[cfg(test)]
mod tests {
    use super::{below, hex};

    #[test]
    fn passwords_have_their_length_and_are_not_the_same() {
        let password = hex::<16>().unwrap();
        assert!(password.len() == 32 && password.chars().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(password, hex::<16>().unwrap());
        assert!(below(7).unwrap() < 7);
    }
}
