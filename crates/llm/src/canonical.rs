//! One text for all ways to write the same JSON: members sorted by name, no white space. What makes a difference to a value
//! (digits, escapes, order in arrays) is left as it was written, so different texts may mean the same, never the reverse.

use domain::json::quote_or_escape;

/// As deep as serde_json goes where it builds values. What is nested deeper is not ours to remember.
const DEEPEST: usize = 128;

/// The members of `object`, which must be valid JSON, without those named in `without`.
pub fn canonical(object: &str, without: &[&str]) -> Option<Vec<u8>> {
    let mut writer = CanonicalWriter {
        text: object.as_bytes(),
        at: 0,
        out: Vec::with_capacity(object.len() + 16),
        members: Vec::with_capacity(16),
        unsorted: Vec::new(),
    };
    writer.space();
    writer.object(0, without)?;
    Some(writer.out)
}

/// Every call that may be remembered goes through here, so that nothing is allocated for each object.
struct CanonicalWriter<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// Of the objects that are open, outermost first.
    members: Vec<Member<'a>>,
    /// An object as it came, while its members are put in order.
    unsorted: Vec<u8>,
}

/// Where a member's name stands in the text, and where all of it stands in the output.
struct Member<'a> {
    name: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> CanonicalWriter<'a> {
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, taken.
    fn next(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth, &[]),
            b'[' => self.array(depth),
            b'"' => {
                let string = self.string()?;
                self.out.extend_from_slice(string);
                Some(())
            }
            _ => {
                let rest = &self.text[self.at..];
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                self.out.extend_from_slice(&rest[..length]);
                self.at += length;
                Some(())
            }
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.at += 1;
        loop {
            self.at += quote_or_escape(self.text.get(self.at..)?)?;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Some(&self.text[start..self.at]);
            }
            self.at += 2;
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.next()?;
        self.out.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(depth + 1)?;
                self.out.push(b',');
                if self.next()? == b']' {
                    break;
                }
            }
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, depth: usize, without: &[&str]) -> Option<()> {
        if self.next()? != b'{' {
            return None;
        }
        self.out.push(b'{');
        let begin = self.out.len();
        let first = self.members.len();
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                self.space();
                let name = self.string()?;
                let start = self.out.len();
                self.out.extend_from_slice(name);
                self.out.push(b':');
                if self.next()? != b':' {
                    return None;
                }
                self.value(depth + 1)?;
                self.out.push(b',');
                let plain = &name[1..name.len() - 1];
                if without.iter().any(|skipped| skipped.as_bytes() == plain) {
                    self.out.truncate(start);
                } else {
                    let end = self.out.len();
                    self.members.push(Member { name, start, end });
                }
                if self.next()? == b'}' {
                    break;
                }
            }
        }
        let members = &mut self.members[first..];
        if !members.is_sorted_by_key(|member| member.name) {
            // Stable, so that members of one name keep their order, which decides what they mean.
            members.sort_by_key(|member| member.name);
            self.unsorted.clear();
            // Once for all objects: none is longer, but for the commas that are put in.
            self.unsorted.reserve(self.text.len());
            self.unsorted.extend_from_slice(&self.out[begin..]);
            self.out.truncate(begin);
            for member in members {
                self.out
                    .extend_from_slice(&self.unsorted[member.start - begin..member.end - begin]);
            }
        }
        self.members.truncate(first);
        self.out.push(b'}');
        Some(())
    }
}

#[cfg(test)]
mod tests;
