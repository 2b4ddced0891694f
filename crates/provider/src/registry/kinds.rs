//! What a listed model is for. Lists hold models for other uses as well, and ids are all there is to tell them by.

use domain::model::ModelKind;

/// Whatever else its name holds, such a model talks: `gpt-image-edit-chat`, `davinci-7b-chat`.
const CHAT: [&str; 4] = ["*-chat", "*-chat-*", "*-instruct", "*-instruct-*"];
/// Families of models for embeddings, some of which do not say so.
const EMBEDDING: [&str; 12] = [
    "*embed*",
    "bge-*",
    "*/bge-*",
    "nomic-*",
    "*/nomic-*",
    "e5-*",
    "*/e5-*",
    "gte-*",
    "*/gte-*",
    "*minilm*",
    "*gritlm*",
    "*/labse*",
];
const SKIPPED: [&str; 18] = [
    "*whisper*",
    "tts-*",
    "*-tts",
    "*-tts-*",
    "*dall-e*",
    "gpt-image-*",
    "*-image-*",
    "*-image",
    "*audio*",
    "*realtime*",
    "*moderation*",
    "*transcribe*",
    "sora*",
    "davinci-*",
    "*-davinci-*",
    "babbage-*",
    "*rerank*",
    "*stable-diffusion*",
];

/// Patterns that are asked in this order. What none of them takes is for chat.
pub(super) struct Kinds {
    embedding: Vec<String>,
    skipped: Vec<String>,
}

impl Kinds {
    /// The built-in patterns in place of those that are absent.
    pub(super) fn new(embedding: Option<&[String]>, skipped: Option<&[String]>) -> Self {
        let or = |own: Option<&[String]>, built_in: &[&str]| match own {
            Some(own) => own.iter().map(|pattern| pattern.to_lowercase()).collect(),
            None => built_in.iter().map(|pattern| (*pattern).to_owned()).collect(),
        };
        Self {
            embedding: or(embedding, &EMBEDDING),
            skipped: or(skipped, &SKIPPED),
        }
    }

    /// `None` for a model that cannot be used here.
    pub(super) fn of(&self, id: &str) -> Option<ModelKind> {
        let id = id.to_lowercase();
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &id));
        if CHAT.iter().any(|pattern| matches(pattern, &id)) {
            Some(ModelKind::Chat)
        } else if any(&self.embedding) {
            Some(ModelKind::Embedding)
        } else if any(&self.skipped) {
            None
        } else {
            Some(ModelKind::Chat)
        }
    }
}

/// Whether all of the text is as the pattern says, in which `*` stands for any characters. In time proportional to both.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let (Some(first), Some(last)) = (parts.next(), parts.next_back()) else {
        return pattern == text;
    };
    let inner = text.strip_prefix(first).and_then(|text| text.strip_suffix(last));
    let Some(mut rest) = inner else { return false };
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::{Kinds, matches};
    use domain::model::ModelKind;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("a*", "a"),
            ("*a*", "bab"),
            ("a*b*c", "a1b2c"),
            ("*", ""),
            ("a", "a"),
            ("*b", "ab"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*a", "a"), ("*a", "ab"), ("a*b*c", "acb"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn kinds_by_name() {
        let kinds = Kinds::new(None, None);
        for id in [
            "gpt-4.1",
            "meta/Llama-3-8B-Instruct",
            "gpt-image-edit-chat",
            "davinci-7b-chat",
            "deepseek-r1:8b",
            "maple",
        ] {
            assert_eq!(kinds.of(id), Some(ModelKind::Chat), "{id}");
        }
        for id in [
            "text-embedding-3-small",
            "bge-m3",
            "BAAI/BGE-large-en",
            "nomic-text",
            "all-minilm:l6-v2",
            "intfloat/e5-base",
        ] {
            assert_eq!(kinds.of(id), Some(ModelKind::Embedding), "{id}");
        }
        for id in [
            "whisper-1",
            "tts-1-hd",
            "dall-e-3",
            "gpt-image-1",
            "gpt-4o-audio-preview",
            "sora-2",
            "davinci-002",
        ] {
            assert_eq!(kinds.of(id), None, "{id}");
        }
        let own = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        let kinds = Kinds::new(Some(&own(&["Vec-*"])), Some(&own(&[])));
        assert_eq!(kinds.of("vec-1"), Some(ModelKind::Embedding));
        assert_eq!(kinds.of("whisper-1"), Some(ModelKind::Chat));
    }
}
