//! The text of answers, for those who keep it.

use serde::Deserialize;

/// The text that a chunk adds to its first choice.
pub fn delta_text(data: &[u8]) -> Option<String> {
    first_content(data, |choice| choice.delta)
}

/// The text of a whole answer's first choice.
pub fn answer_text(body: &[u8]) -> Option<String> {
    first_content(body, |choice| choice.message)
}

#[derive(Deserialize)]
struct Contents {
    choices: Vec<ContentChoice>,
}

#[derive(Deserialize)]
struct ContentChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Content>,
    #[serde(default)]
    message: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

fn first_content(data: &[u8], part: impl Fn(ContentChoice) -> Option<Content>) -> Option<String> {
    let contents: Contents = serde_json::from_slice(data).ok()?;
    let first = contents.choices.into_iter().find(|choice| choice.index == 0)?;
    part(first)?.content.filter(|text| !text.is_empty())
}
