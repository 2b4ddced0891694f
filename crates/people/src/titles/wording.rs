//! What a model is asked for a title, and what is taken for one of what it says.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::json;

use domain::{
    conversation::{MAX_TITLE_LENGTH, title_from},
    text,
    thoughts::split,
};
use llm::outbound::openai::{
    chunk::answer_text,
    said::{Finish, said},
};

/// Of the question, in characters: some 500 tokens, which a small model reads in seconds.
const MAX_PROMPT_CHARS: usize = 1_500;
/// Twice what is asked for: a longer text is no title but an answer.
const MAX_WORDS: usize = 12;

/// `model` is the server's name for it.
pub(super) fn request_body(model: &str, question: &str) -> Bytes {
    let question: String = question.chars().take(MAX_PROMPT_CHARS).collect();
    let body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": "Give a title of at most six words for this."},
            {"role": "user", "content": question},
        ],
        "max_tokens": 20,
        "temperature": 0,
    });
    Bytes::from(body.to_string())
}

/// The title in a whole answer.
pub(super) fn title_of(answer: &[u8]) -> Option<String> {
    let text = split(&answer_text(answer)?).text;
    let text = text.trim_start();
    // A line that the limit on tokens cut is half a thought.
    let is_cut = said(answer).finish == Some(Finish::Length) && !text.contains('\n');
    if is_cut { None } else { cleaned(text) }
}

/// Its first line without what models put around titles. Nothing for what is no title.
fn cleaned(text: &str) -> Option<String> {
    let line = text.lines().map(stripped).find(|line| !line.is_empty())?;
    let words: Vec<_> = line.split_whitespace().collect();
    let distinct: HashSet<_> = words.iter().map(|word| word.to_lowercase()).collect();
    // Small models fall into repeating themselves.
    let repeats = words.len() > 3 && distinct.len() * 2 <= words.len();
    if words.len() > MAX_WORDS || repeats || !line.chars().any(char::is_alphanumeric) {
        return None;
    }
    let title = text::title(&words.join(" "), MAX_TITLE_LENGTH).ok()?;
    (title_from(&title) == title).then_some(title)
}

/// A line without marks of Markdown, quotes, a full stop, and the word that says what it is.
fn stripped(line: &str) -> String {
    let mut line = line.replace("**", "").replace("__", "").replace('`', "");
    loop {
        let inner = line
            .trim_matches(|c: char| c.is_whitespace() || c.is_control() || "\"'“”„‟‘’«»*_".contains(c))
            .trim_start_matches(['#', '>', '-', '+', ' '])
            .trim_end_matches(['.', ':', '#', ' ']);
        let inner = match inner.get(..6) {
            Some(word) if word.eq_ignore_ascii_case("title:") => &inner[6..],
            _ => inner,
        };
        if inner.len() == line.len() {
            return line;
        }
        line = inner.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{cleaned, request_body, title_of};

    #[test]
    fn a_title_loses_what_models_put_around_it() {
        for (said, title) in [
            ("Planning a trip", "Planning a trip"),
            ("\n\n  \"Planning a trip.\"\nIt is about a trip.", "Planning a trip"),
            ("**Title:** “Planning  a trip”", "Planning a trip"),
            ("## Planning a trip", "Planning a trip"),
            ("- *Planning a `trip`*", "Planning a trip"),
            ("TITLE: \"Planning a trip\".", "Planning a trip"),
            ("«Планы на лето»", "Планы на лето"),
            ("旅行の計画", "旅行の計画"),
            ("Planning\u{202e} a\u{200b} trip", "Planning a trip"),
        ] {
            assert_eq!(cleaned(said).as_deref(), Some(title), "{said}");
        }
    }

    #[test]
    fn what_is_no_title_is_not_taken_for_one() {
        for said in [
            String::new(),
            " \n ".to_owned(),
            "\"\"".to_owned(),
            "**\n...\n---".to_owned(),
            "trip trip trip trip trip trip".to_owned(),
            "I would be glad to help you find a good title for this long question".to_owned(),
            "x".repeat(5_000),
            "?!".to_owned(),
        ] {
            assert_eq!(cleaned(&said), None, "{said}");
        }
    }

    fn answer(content: &str, finish: &str) -> Vec<u8> {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish});
        json!({"object": "chat.completion", "choices": [choice]})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn thoughts_and_what_the_limit_cut_are_no_title() {
        let title = |content: &str, finish: &str| title_of(&answer(content, finish));
        assert_eq!(
            title("<think>A trip.</think>Planning a trip", "stop").as_deref(),
            Some("Planning a trip")
        );
        assert_eq!(title("Planning a trip to the", "length"), None);
        assert_eq!(
            title("Planning a trip\nThis is a", "length").as_deref(),
            Some("Planning a trip")
        );
        assert_eq!(title_of(b"<html>"), None);
    }

    #[test]
    fn a_long_question_is_cut() {
        let body: Value = serde_json::from_slice(&request_body("tiny", &"ä".repeat(100_000))).unwrap();
        assert_eq!(body["messages"][1]["content"].as_str().unwrap().chars().count(), 1_500);
        assert_eq!(
            (&body["max_tokens"], &body["temperature"], &body["model"]),
            (&json!(20), &json!(0), &json!("tiny"))
        );
    }
}
