//! What a model is sent of a conversation.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::json;

use domain::conversation::{Author, Message};

/// What one side says before the other does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PromptMessage<'a> {
    author: Author,
    text: Cow<'a, str>,
}

/// What becomes of questions that have no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Joined with the next question.
    Joined,
    /// Left out: it may be one of them that the model fails at, and then each later question would fail with it.
    LeftOut,
}

/// The newest turns that fit `room` bytes, oldest first; the question itself always goes. The two sides alternate, beginning
/// with the person, as the templates of many models demand (400 "conversation roles must alternate"): what an answer that came
/// to nothing leaves, two questions in a row, is joined. Public reports: CherryHQ/cherry-studio PR #5051, etkecc/baibot #13.
pub(super) fn prompt(history: &[Message], mut room: usize, unanswered: Unanswered) -> Vec<PromptMessage<'_>> {
    let newest = history
        .iter()
        .rev()
        .filter(|message| !message.content.trim().is_empty())
        .enumerate()
        .take_while(|(index, message)| {
            let fits = message.content.len() <= room;
            room = room.saturating_sub(message.content.len());
            fits || *index == 0
        })
        .map(|(_, message)| message);
    let mut kept: Vec<_> = newest.collect();
    kept.reverse();
    let mut prompt: Vec<PromptMessage<'_>> = Vec::with_capacity(kept.len());
    for message in kept {
        match prompt.last_mut() {
            Some(last)
                if last.author == Author::User
                    && message.author == Author::User
                    && unanswered == Unanswered::LeftOut =>
            {
                last.text = Cow::Borrowed(&message.content);
            }
            Some(last) if last.author == message.author => {
                let text = last.text.to_mut();
                text.push_str("\n\n");
                text.push_str(&message.content);
            }
            None if message.author == Author::Assistant => {}
            _ => prompt.push(PromptMessage {
                author: message.author,
                text: Cow::Borrowed(&message.content),
            }),
        }
    }
    prompt
}

/// Bytes of text.
pub(super) fn size(prompt: &[PromptMessage<'_>]) -> usize {
    prompt.iter().map(|message| message.text.len()).sum()
}

/// A request in OpenAI's form.
pub(super) fn request_body(model: &str, prompt: &[PromptMessage<'_>]) -> Bytes {
    let messages: Vec<_> = prompt
        .iter()
        .map(|message| json!({"role": message.author.as_str(), "content": message.text}))
        .collect();
    Bytes::from(json!({"model": model, "messages": messages, "stream": true}).to_string())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::{Author, Message, Unanswered, prompt};
    use domain::{conversation::MessageStatus, ids::MessageId};

    fn message(author: Author, content: &str) -> Message {
        Message {
            id: MessageId::generate(),
            author,
            content: content.to_owned(),
            thoughts: Some("never sent".to_owned()),
            model: None,
            status: MessageStatus::Complete,
            ending: None,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    fn prompt_of(history: &[(Author, &str)], room: usize) -> Vec<(Author, String)> {
        let history: Vec<_> = history.iter().map(|(author, text)| message(*author, text)).collect();
        let prompt = prompt(&history, room, Unanswered::Joined);
        prompt
            .into_iter()
            .map(|message| (message.author, message.text.into_owned()))
            .collect()
    }

    use Author::{Assistant, User};

    #[test]
    fn two_questions_in_a_row_are_joined() {
        let history = [(User, "a"), (Assistant, ""), (User, "b"), (Assistant, "c"), (User, "d")];
        let expected = [(User, "a\n\nb"), (Assistant, "c"), (User, "d")];
        assert_eq!(
            prompt_of(&history, 100),
            expected.map(|(author, text)| (author, text.to_owned()))
        );
    }

    #[test]
    fn questions_without_an_answer_can_be_left_out() {
        let history = [
            (User, "a"),
            (User, "b"),
            (Assistant, "c"),
            (Assistant, "d"),
            (User, "e"),
            (Assistant, ""),
            (User, "f"),
        ];
        let history = history.map(|(author, text)| message(author, text));
        let prompt = prompt(&history, 100, Unanswered::LeftOut);
        let prompt_of: Vec<_> = prompt.iter().map(|message| (message.author, &*message.text)).collect();
        assert_eq!(prompt_of, [(User, "b"), (Assistant, "c\n\nd"), (User, "f")]);
    }

    #[test]
    fn a_history_that_is_cut_begins_with_a_question() {
        let history = [(User, "long question"), (Assistant, "answer"), (User, "next")];
        assert_eq!(prompt_of(&history, 12), [(User, "next".to_owned())]);
        assert_eq!(
            prompt_of(&history, 0),
            [(User, "next".to_owned())],
            "the question always goes"
        );
    }

    proptest! {
        #[test]
        fn sides_alternate_and_end_with_the_question(
            history in prop::collection::vec((prop_oneof![Just(User), Just(Assistant)], "[ a-c]{0,6}"), 0..12),
            room in 0_usize..40,
        ) {
            let mut history: Vec<_> = history.iter().map(|(author, text)| (*author, text.as_str())).collect();
            history.push((User, "question"));
            let prompt_of = prompt_of(&history, room);
            for (at, (author, text)) in prompt_of.iter().enumerate() {
                prop_assert_eq!(*author, if at % 2 == 0 { User } else { Assistant });
                prop_assert!(!text.trim().is_empty());
            }
            prop_assert!(prompt_of.last().unwrap().1.ends_with("question"));
        }
    }
}
