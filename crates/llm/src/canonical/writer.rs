//! Writes a value in canonical form that was written otherwise.

use super::{DEEPEST, Reader, sort};

/// Members of all objects that are open. A value with more has no canonical form: each takes several times the memory of the shortest one.
const MAX_MEMBERS: usize = 4096;

pub(super) struct Writer<'a> {
    reader: Reader<'a>,
    out: Vec<u8>,
    /// Of the objects that are open, outermost first, so that nothing is allocated for each of them.
    members: Vec<Placed<'a>>,
    /// An object as it came, while its members are put in order.
    unsorted: Vec<u8>,
}

/// Where a member's name stands in the text, and where all of it stands in the output.
struct Placed<'a> {
    name: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Writer<'a> {
    /// Of `text`, behind what is in `out`.
    pub(super) fn new(text: &'a str, out: Vec<u8>) -> Self {
        Self {
            reader: Reader::of(text),
            out,
            members: Vec::with_capacity(16),
            unsorted: Vec::new(),
        }
    }

    /// What was in `out`, and the value.
    pub(super) fn write(mut self) -> Option<Vec<u8>> {
        self.value(0)?;
        Some(self.out)
    }

    /// The next byte that is not white space, not taken.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.reader.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.reader.at += 1;
        }
        self.reader.byte()
    }

    /// The next byte that is not white space, taken.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.reader.at += 1;
        Some(byte)
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        let text = match self.peek()? {
            b'{' => return self.object(depth),
            b'[' => return self.array(depth),
            b'"' => self.reader.string()?,
            _ => self.reader.scalar()?,
        };
        self.out.extend_from_slice(text);
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.out.push(b'[');
        self.next()?;
        if self.peek()? == b']' {
            self.next()?;
        } else {
            loop {
                self.value(depth + 1)?;
                match self.next()? {
                    b']' => break,
                    b',' => self.out.push(b','),
                    _ => return None,
                }
            }
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.out.push(b'{');
        let (begin, first) = (self.out.len(), self.members.len());
        self.next()?;
        if self.peek()? == b'}' {
            self.next()?;
        } else {
            loop {
                self.peek()?;
                let name = self.reader.string()?;
                let start = self.out.len();
                self.out.extend_from_slice(name);
                if self.next()? != b':' {
                    return None;
                }
                self.out.push(b':');
                self.value(depth + 1)?;
                let end = self.out.len();
                if self.members.len() == MAX_MEMBERS {
                    return None;
                }
                self.members.push(Placed { name, start, end });
                match self.next()? {
                    b'}' => break,
                    b',' => self.out.push(b','),
                    _ => return None,
                }
            }
        }
        self.sort(begin, first);
        self.out.push(b'}');
        Some(())
    }

    /// Puts the members of the innermost object in order, whose text begins at `begin`.
    fn sort(&mut self, begin: usize, first: usize) {
        let members = &mut self.members[first..];
        if sort(members, |member| member.name) {
            self.unsorted.clear();
            // Once for all objects: none is longer than the text.
            self.unsorted.reserve(self.reader.text.len());
            self.unsorted.extend_from_slice(&self.out[begin..]);
            self.out.truncate(begin);
            for (place, member) in members.iter().enumerate() {
                if place > 0 {
                    self.out.push(b',');
                }
                self.out
                    .extend_from_slice(&self.unsorted[member.start - begin..member.end - begin]);
            }
        }
        self.members.truncate(first);
    }
}
