//! What the chunks of one stream begin with: an id, a time, a model's name, the same in each, and longer than the text that follows. Once it has been
//! read and said nothing, a chunk that begins with the same bytes is read from there on: two thirds of a chunk's reading (decision 0048).

/// What begins longer than this is read each time. In bytes.
const MAX: usize = 1024;

/// The text of the last chunk up to its choices. Empty if it is not known.
#[derive(Debug, Default)]
pub struct Beginning(Vec<u8>);

impl Beginning {
    pub(super) fn is_of(&self, data: &[u8]) -> bool {
        !self.0.is_empty() && data.starts_with(&self.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn set(&mut self, text: &[u8]) {
        self.0.clear();
        if text.len() <= MAX {
            self.0.extend_from_slice(text);
        }
    }
}
