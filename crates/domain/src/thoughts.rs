//! What a model writes before it answers, between `<think>` and `</think>`: told apart from the answer, since readers want it
//! folded and models must not be sent it again. Public reports: continuedev/continue #3832, chatbox #2157.

/// The marks that models put around their thoughts.
const MARKS: [(&str, &str); 3] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
];

/// White space that is held back in the hope of a mark, in bytes.
const MAX_LEADING_SPACE: usize = 1024;

/// Tells thoughts from text while an answer grows. Only what precedes the answer's first text is taken for thoughts, so that
/// an answer may speak of the marks.
#[derive(Debug, Default)]
pub struct Splitter {
    state: State,
    /// The last bytes, which may be the beginning of a mark.
    pending: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space and thoughts so far.
    #[default]
    Before,
    /// Until this mark.
    Thinking(&'static str),
    /// The white space between thoughts and text, which belongs to neither.
    After,
    Text,
}

/// A piece of an answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub thoughts: String,
}

impl Splitter {
    /// Takes what came, and gives what can be told of it. Takes time in proportion to what came.
    pub fn push(&mut self, piece: &str) -> Piece {
        let mut split = Piece::default();
        if self.state == State::Text {
            split.text.push_str(piece);
            return split;
        }
        let mut all = std::mem::take(&mut self.pending);
        all.push_str(piece);
        let mut rest = all.as_str();
        while self.step(&mut rest, &mut split) {}
        self.pending = rest.to_owned();
        split
    }

    /// What was held back, at the end of the answer.
    pub fn finish(&mut self) -> Piece {
        let pending = std::mem::take(&mut self.pending);
        match std::mem::replace(&mut self.state, State::Text) {
            State::Thinking(_) => Piece {
                thoughts: pending,
                text: String::new(),
            },
            State::Before | State::After | State::Text => Piece {
                text: pending,
                thoughts: String::new(),
            },
        }
    }

    /// Goes on to the next state, and cuts what was told off `rest`; false if more has to come first.
    fn step(&mut self, rest: &mut &str, split: &mut Piece) -> bool {
        match self.state {
            State::Before | State::After => {
                let begun = rest.trim_start();
                if begun.is_empty() && rest.len() < MAX_LEADING_SPACE {
                    return false;
                }
                for (open, close) in MARKS {
                    if let Some(after) = begun.strip_prefix(open) {
                        *rest = after;
                        self.state = State::Thinking(close);
                        return true;
                    }
                    if !begun.is_empty() && open.starts_with(begun) {
                        return false;
                    }
                }
                // White space before the first text is the answer's own: it may indent a block of code.
                split
                    .text
                    .push_str(if self.state == State::After { begun } else { rest });
                *rest = "";
                self.state = State::Text;
                false
            }
            State::Thinking(close) => {
                if let Some(end) = rest.find(close) {
                    split.thoughts.push_str(&rest[..end]);
                    *rest = &rest[end + close.len()..];
                    self.state = State::After;
                    return true;
                }
                let keep = rest.floor_char_boundary(rest.len().saturating_sub(close.len() - 1));
                split.thoughts.push_str(&rest[..keep]);
                *rest = &rest[keep..];
                false
            }
            State::Text => false,
        }
    }
}

/// Tells thoughts from text in a whole answer. Also where the opening mark is missing, as some servers swallow it: then the
/// closing one stands on a line of its own, and no mark opens before it.
pub fn split(answer: &str) -> Piece {
    let mut splitter = Splitter::default();
    let mut all = splitter.push(answer);
    let rest = splitter.finish();
    all.text.push_str(&rest.text);
    all.thoughts.push_str(&rest.thoughts);
    if all.thoughts.is_empty()
        && let Some((before, after)) = unopened(&all.text)
    {
        return Piece {
            thoughts: before.to_owned(),
            text: after.trim_start().to_owned(),
        };
    }
    all
}

fn unopened(text: &str) -> Option<(&str, &str)> {
    let (open, close) = MARKS[0];
    let at = text.find(close)?;
    let (before, after) = (&text[..at], &text[at + close.len()..]);
    let own_line =
        (before.ends_with('\n') || before.is_empty()) && (after.starts_with(['\n', '\r']) || after.is_empty());
    (own_line && !before.contains(open) && !before.contains("```")).then_some((before, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Piece, Splitter, split};

    fn piece(thoughts: &str, text: &str) -> Piece {
        Piece {
            text: text.to_owned(),
            thoughts: thoughts.to_owned(),
        }
    }

    #[test]
    fn thoughts_before_an_answer_are_told_apart() {
        assert_eq!(split("<think>\nlong\n</think>\n\nHi"), piece("\nlong\n", "Hi"));
        assert_eq!(split("\n<thinking>a</thinking> <think>b</think>Hi"), piece("ab", "Hi"));
        assert_eq!(split("<think>never closed"), piece("never closed", ""));
        assert_eq!(
            split("the mark was swallowed\n</think>\nHi"),
            piece("the mark was swallowed\n", "Hi")
        );
    }

    #[test]
    fn an_answer_may_speak_of_the_marks() {
        for text in [
            "Models write <think> first",
            "    code\n<think>x</think>",
            "a </think> b",
            "```\n</think>\n```",
            "<thin",
            "<th",
            "",
        ] {
            assert_eq!(split(text), piece("", text));
        }
    }

    proptest! {
        #[test]
        fn pieces_tell_the_same_as_the_whole(text in "(<think>|</think>|<thinking>|[a<> \n/tä]){0,12}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let tell = |pieces: &[&str]| {
                let (mut splitter, mut all) = (Splitter::default(), Piece::default());
                for piece in pieces {
                    let split = splitter.push(piece);
                    all.text.push_str(&split.text);
                    all.thoughts.push_str(&split.thoughts);
                }
                let split = splitter.finish();
                all.text.push_str(&split.text);
                all.thoughts.push_str(&split.thoughts);
                all
            };
            let pieces: Vec<&str> = at.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(tell(&pieces), tell(&[&text]));
        }
    }
}
