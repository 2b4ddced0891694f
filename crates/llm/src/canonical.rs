//! One text for all ways to write the same JSON: members in one order, no white space. What makes a difference to a value
//! (digits, escapes, order in arrays) is left as it was written, so different texts may mean the same, never the reverse.
//!
//! The order is the one that most requests are written in: short names first, and of two of one length the greater
//! (`role` before `content`, `type` before `text`). Members among whose names one has an escape stay in theirs. A value that is in order
//! already is found so and copied as a whole.

mod writer;

use std::{cmp::Ordering, fmt};

use domain::json::quote_or_escape;

use writer::Writer;

/// As deep as serde_json goes where it builds values. What is nested deeper is not ours to remember.
const DEEPEST: usize = 128;

/// A member of an object as it is written: its name with its quotes, and its value without white space around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

/// Without the value, which may be a prompt.
impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The text of an object that has these members, which must be valid JSON, without those named in `without`. `None` if a value is nested too
/// deeply, or is to be put in order and has too many members.
pub fn canonical(members: &[Member<'_>], without: &[&str]) -> Option<Vec<u8>> {
    let named = |member: &&Member<'_>| {
        let plain = member.name.get(1..member.name.len().saturating_sub(1));
        !without.iter().any(|skipped| Some(*skipped) == plain)
    };
    let mut members: Vec<_> = members.iter().filter(named).collect();
    sort(&mut members, |member| member.name.as_bytes());
    let length: usize = members
        .iter()
        .map(|member| member.name.len() + member.value.len() + 2)
        .sum();
    let mut out = Vec::with_capacity(length);
    for Member { name, value } in members {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        if Reader::of(value).is_canonical() {
            out.extend_from_slice(value.as_bytes());
        } else {
            out = Writer::new(value, out).write()?;
        }
        out.push(b',');
    }
    Some(out)
}

/// Puts members in order; `false` if they stay as they are. So they do where a name is written with an escape: it may be another's name,
/// and of two members of one name the order decides what they mean.
fn sort<T>(members: &mut [T], name: impl Fn(&T) -> &[u8]) -> bool {
    let is_sorted = members.is_sorted_by(|one, other| order(name(one), name(other)).is_le());
    if is_sorted || members.iter().any(|member| name(member).contains(&b'\\')) {
        return false;
    }
    // Stable: members of one name keep their order.
    members.sort_by(|one, other| order(name(one), name(other)));
    true
}

fn order(name: &[u8], other: &[u8]) -> Ordering {
    (name.len().cmp(&other.len())).then_with(|| other.cmp(name))
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.as_bytes();
        Self { text, at: 0 }
    }

    fn is_canonical(&mut self) -> bool {
        self.skip_canonical(0).is_some() && self.at == self.text.len()
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips a value that is in canonical form; `None` where it is not.
    fn skip_canonical(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        let open = self.byte()?;
        let close = match open {
            b'{' => b'}',
            b'[' => b']',
            b'"' => return self.string().map(drop),
            _ => return self.scalar().map(drop),
        };
        self.at += 1;
        if self.byte()? == close {
            self.at += 1;
            return Some(());
        }
        let mut previous: &[u8] = b"";
        loop {
            if open == b'{' {
                let name = self.string()?;
                if order(previous, name).is_gt() || self.byte()? != b':' {
                    return None;
                }
                self.at += 1;
                previous = name;
            }
            self.skip_canonical(depth + 1)?;
            let byte = self.byte()?;
            self.at += 1;
            if byte == close {
                return Some(());
            }
            if byte != b',' {
                return None;
            }
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.byte()? != b'"' {
            return None;
        }
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

    /// A number, or a word.
    fn scalar(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..)?;
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b' ' | b'\n' | b'\r' | b'\t');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then(|| &rest[..length])
    }
}

#[cfg(test)]
mod tests;
