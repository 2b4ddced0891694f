//! From tokens' bytes to the text that a caller gets: whole characters, up to the first stop.

/// Puts text together, holding back no more than what may still become a character or a stop.
pub struct TextAssembler {
    stops: Vec<String>,
    /// Bytes that are no whole character yet.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop.
    pending: String,
    stopped: bool,
}

impl TextAssembler {
    /// Empty stops are left out: they would end every answer before it begins.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            bytes: Vec::new(),
            pending: String::new(),
            stopped: false,
        }
    }

    /// Whether a stop has come: what follows is not part of the answer.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a token's bytes; gives what can be delivered.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.bytes.extend_from_slice(bytes);
        self.take_characters();
        // The stop that is complete first, however the text comes in: of two that end together, the longer.
        let ends = self.stops.iter().filter_map(|stop| {
            let at = self.pending.find(stop.as_str())?;
            Some((at + stop.len(), at))
        });
        if let Some((_, at)) = ends.min() {
            self.stopped = true;
            self.pending.truncate(at);
            return std::mem::take(&mut self.pending);
        }
        let safe = self.pending.len() - self.may_become_stop();
        let rest = self.pending.split_off(safe);
        std::mem::replace(&mut self.pending, rest)
    }

    /// The end of the answer: what only began like a stop is text. Bytes of half a character are left out.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.pending)
    }

    /// Moves whole characters over; bytes that no character begins with are left out.
    fn take_characters(&mut self) {
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    self.pending.push_str(text);
                    self.bytes.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.pending.push_str(&String::from_utf8_lossy(&self.bytes[..valid]));
                    let invalid = error.error_len();
                    self.bytes.drain(..valid + invalid.unwrap_or(0));
                    if invalid.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// The length of the longest end of the held text that a stop begins with.
    fn may_become_stop(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|end| self.pending.ends_with(&stop[..*end]))
                .max()
                .unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}
