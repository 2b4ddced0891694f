//! The prompt: a conversation, rendered by the model's own template and split into tokens.

use candle_core::quantized::gguf_file::{Content, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;

use super::vocabulary::{EncodeError, Vocabulary};

/// Why a file's template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("it has no chat template; a file of a chat model (\"instruct\") has one")]
    Missing,
    #[error("its chat template cannot be used: {0}")]
    Unusable(String),
}

/// Why a conversation has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// In the template's words, such as "roles must alternate".
    #[error("the model's template refuses the conversation: {0}")]
    Refused(String),
    #[error("the text holds every mark that is kept apart from text")]
    NoMark,
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

pub struct Template {
    environment: Environment<'static>,
}

const NAME: &str = "chat";

/// Steps of a template's own loops: thousands of messages fit, a template without an end does not.
const FUEL: u64 = 2_000_000;

/// Unicode's noncharacters "for internal use", which no text should hold: one that a conversation does not hold marks its control tokens' texts.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

impl Template {
    pub fn read(content: &Content) -> Result<Self, TemplateError> {
        match content.metadata.get("tokenizer.chat_template") {
            Some(Value::String(source)) => Self::parse(source.clone()),
            _ => Err(TemplateError::Missing),
        }
    }

    pub fn parse(source: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // As the library does that such templates are written for: Hugging Face's transformers.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        let unusable = |error: minijinja::Error| TemplateError::Unusable(error.to_string());
        environment.add_template_owned(NAME, source).map_err(unusable)?;
        let template = Self { environment };
        let trial = [Message {
            role: Role::User,
            content: "Hello".to_owned(),
        }];
        template.render(&trial, "", "").map_err(unusable)?;
        Ok(template)
    }

    fn render(&self, messages: &[Message], bos: &str, eos: &str) -> Result<String, minijinja::Error> {
        self.environment.get_template(NAME)?.render(context! {
            messages => messages,
            bos_token => bos,
            eos_token => eos,
            add_generation_prompt => true,
        })
    }

    /// The tokens of a conversation, up to and including the frame in which the model answers. They may be more than `max`; soon after
    /// that the rest is left away.
    ///
    /// What people write stays text: where a message spells a control token, a mark is put into it before the template is rendered, and
    /// taken out again once the template's own control tokens are found.
    pub fn tokens(&self, messages: &[Message], vocabulary: &Vocabulary, max: usize) -> Result<Vec<u32>, PromptError> {
        let mark = MARKS
            .into_iter()
            .find(|mark| messages.iter().all(|message| !message.content.contains(*mark)))
            .ok_or(PromptError::NoMark)?;
        let marked: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                role: message.role,
                content: mark_controls(&message.content, vocabulary, mark),
            })
            .collect();
        let rendered = self
            .render(&marked, &vocabulary.bos_text, &vocabulary.eos_text)
            .map_err(|error| {
                PromptError::Refused(error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
            })?;
        let mut tokens = Vec::new();
        let mut text_from = 0;
        let mut at = 0;
        while at < rendered.len() && tokens.len() <= max {
            match vocabulary.control_at(&rendered[at..]) {
                Some((token, length)) => {
                    vocabulary.encode(&rendered[text_from..at].replace(mark, ""), max, &mut tokens)?;
                    tokens.push(token);
                    at += length;
                    text_from = at;
                }
                None => at += rendered[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        vocabulary.encode(&rendered[text_from..at].replace(mark, ""), max, &mut tokens)?;
        if let Some(bos) = vocabulary.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }
}

/// Puts the mark behind the first character of every control token's text.
fn mark_controls(content: &str, vocabulary: &Vocabulary, mark: char) -> String {
    let mut marked = String::with_capacity(content.len());
    for (at, character) in content.char_indices() {
        marked.push(character);
        if vocabulary.control_at(&content[at..]).is_some() {
            marked.push(mark);
        }
    }
    marked
}
