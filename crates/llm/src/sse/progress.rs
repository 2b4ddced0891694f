//! How far a server is in reading a prompt, which it says in comments of its stream: a long conversation takes a small model minutes.

/// Tokens of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub read: u32,
    pub total: u32,
}

/// The last `: 640 of 3525 tokens of the prompt are read` of whole events, as the model server of this repository says it; other
/// comments say nothing.
pub fn progress(item: &[u8]) -> Option<Progress> {
    item.split(|byte| *byte == b'\n').rev().find_map(parse_comment)
}

fn parse_comment(line: &[u8]) -> Option<Progress> {
    let counts = line
        .strip_prefix(b": ")?
        .strip_suffix(b" tokens of the prompt are read")?;
    let (read, total) = std::str::from_utf8(counts).ok()?.split_once(" of ")?;
    let (read, total) = (read.parse().ok()?, total.parse().ok()?);
    (read <= total && total > 0).then_some(Progress { read, total })
}

#[cfg(test)]
mod tests {
    use super::{Progress, progress};

    #[test]
    fn only_the_one_comment_tells_progress() {
        let comment = ": 640 of 3525 tokens of the prompt are read\n\n";
        for item in [
            comment,
            &format!("data: {{}}\n\n: 9 of 3525 tokens of the prompt are read\n\n{comment}data: {{}}\n\n"),
        ] {
            assert_eq!(progress(item.as_bytes()), Some(Progress { read: 640, total: 3525 }));
        }
        for other in [
            ": keep-alive\n\n",
            "data: 640 of 3525 tokens of the prompt are read\n\n",
            ": 9 of 3 tokens of the prompt are read\n\n",
            ": 0 of 0 tokens of the prompt are read\n\n",
            ": -1 of 3 tokens of the prompt are read\n\n",
            ": 1 of 99999999999 tokens of the prompt are read\n\n",
            ": \u{fffd} of 3 tokens of the prompt are read\n\n",
            "",
        ] {
            assert_eq!(progress(other.as_bytes()), None, "{other:?}");
        }
    }
}
