//! Finding a few fields in a JSON object without parsing the others. Every event of every stream is read along, and a
//! general parser spends most of its time on what metering then throws away.
//!
//! It trusts its input to be JSON and only has to be right if it is: all of it is `Option`, and `None` means "ask a real
//! parser". It never reads beyond the input and takes time in proportion to it, whatever that is.

use domain::json::quote_or_escape;

/// A place in a JSON text, before a value unless told otherwise.
pub(super) struct Skim<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Skim<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// To a place that is known to be one between tokens.
    pub(super) fn advance(&mut self, to: usize) {
        self.at = to;
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let found = self.peek()? == wanted;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// After an entry of a list: whether another one follows.
    pub(super) fn more(&mut self, close: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            byte if byte == close => Some(false),
            _ => None,
        }
    }

    /// A string as it is written, without its quotes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let found = self.at + quote_or_escape(self.bytes.get(self.at..)?)?;
            if self.bytes[found] == b'"' {
                self.at = found + 1;
                return Some(&self.bytes[start..found]);
            }
            self.at = found + 2;
        }
    }

    /// A string without escapes.
    fn key(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        let end = start + quote_or_escape(self.bytes.get(start..)?)?;
        self.at = end + 1;
        (self.bytes[end] == b'"').then(|| &self.bytes[start..end])
    }

    /// Calls `field` with each key, before its value, which it must take or skip. An escaped key is not understood.
    pub(super) fn object(&mut self, field: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        self.fields(field)
    }

    pub(super) fn object_or_null(&mut self, field: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        if self.null() { Some(()) } else { self.object(field) }
    }

    /// What is left of an object, from before a key on.
    pub(super) fn fields(&mut self, mut field: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        loop {
            let key = self.key()?;
            self.take(b':')?;
            field(self, key)?;
            if !self.more(b'}')? {
                return Some(());
            }
        }
    }

    /// Calls `entry` before each value, which it must take or skip.
    pub(super) fn array(&mut self, mut entry: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            entry(self)?;
            if !self.more(b']')? {
                return Some(());
            }
        }
    }

    pub(super) fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            _ => self.scalar().map(|_| ()),
        }
    }

    /// A value as it is written.
    pub(super) fn value(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Some(&self.bytes[start..self.at])
    }

    /// Takes a value: whether it says nothing, as `null`, `""`, `{}`, `[]`, `false` and `0` do.
    pub(super) fn is_blank(&mut self) -> Option<bool> {
        let value = self.value()?;
        Some(match value {
            b"null" | b"\"\"" | b"false" | b"0" => true,
            [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => inner.trim_ascii().is_empty(),
            _ => false,
        })
    }

    /// Only counts brackets, so no depth is too deep.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// A number or word, as it is written.
    fn scalar(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let rest = &self.bytes[start..];
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then_some(&rest[..length])
    }

    /// Takes a `null`, if there is one.
    pub(super) fn null(&mut self) -> bool {
        let found = self.peek() == Some(b'n') && self.bytes[self.at..].starts_with(b"null");
        self.at += if found { 4 } else { 0 };
        found
    }

    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let digits = self.scalar()?;
        digits.iter().try_fold(0_u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
    }

    /// Nothing but white space is left.
    pub(super) fn is_over(&mut self) -> bool {
        self.peek().is_none()
    }
}
