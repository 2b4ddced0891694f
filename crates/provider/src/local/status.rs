//! How a local model is, and how that is put into words.

use std::{
    hash::{Hash as _, Hasher as _},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use siphasher::sip::SipHasher13;
use url::Url;

use crate::{openai::OpenAiProvider, registry::ProviderSetupError};
use configuration::ProviderConfig;

/// How the model is, as far as this process knows.
#[derive(Clone)]
pub(super) enum Status {
    NotStarted,
    Building,
    Downloading(u8),
    Loading,
    Ready(Arc<Live>),
    /// It said that it was ready, and nobody listens at its address any more.
    Lost(Instant),
    Restarting(String),
    Failed(String),
}

/// How a local model is, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalStatus {
    /// One of [`LocalStatus::STATES`].
    pub state: &'static str,
    /// Of the download, 0 to 100.
    pub percent: Option<u8>,
    /// The same for a person, and what becomes of questions meanwhile.
    pub sentence: String,
}

impl LocalStatus {
    /// All that [`LocalStatus::state`] says.
    pub const STATES: [&'static str; 7] = [
        "not_started",
        "building",
        "downloading",
        "loading",
        "ready",
        "restarting",
        "failed",
    ];

    pub fn is_ready(&self) -> bool {
        self.state == "ready"
    }
}

impl Status {
    pub(super) fn state(&self) -> &'static str {
        let place = match self {
            Self::NotStarted => 0,
            Self::Building => 1,
            Self::Downloading(_) => 2,
            Self::Loading => 3,
            Self::Ready(_) => 4,
            Self::Lost(_) | Self::Restarting(_) => 5,
            Self::Failed(_) => 6,
        };
        LocalStatus::STATES[place]
    }

    /// What a person is told. `shown` is the model's name.
    pub(super) fn report(&self, shown: &str) -> LocalStatus {
        let (clause, rest) = (self.clause(shown), self.meanwhile());
        LocalStatus {
            state: self.state(),
            percent: match self {
                Self::Downloading(percent) => Some(*percent),
                _ => None,
            },
            sentence: if rest.is_empty() {
                format!("{clause}.")
            } else {
                format!("{clause}. {rest}")
            },
        }
    }

    /// The sentence that closes a made-up answer.
    pub(super) fn note(&self, shown: &str) -> String {
        format!("This is a canned answer: {}.", self.clause(shown))
    }

    fn clause(&self, shown: &str) -> String {
        match self {
            Self::NotStarted => format!("{shown} has not been started"),
            Self::Building => format!("{shown} is still being built"),
            Self::Downloading(percent) => format!("{shown} is still being downloaded ({percent} %)"),
            Self::Loading => format!("{shown} is still being loaded"),
            Self::Ready(_) => format!("{shown} is running on this machine"),
            Self::Lost(_) => format!("{shown} has ended and has not been started again yet"),
            Self::Restarting(reason) if reason.is_empty() => format!("{shown} is being started again"),
            Self::Restarting(reason) => format!("{shown} is being started again ({reason})"),
            Self::Failed(reason) if reason.is_empty() => format!("{shown} could not be started"),
            Self::Failed(reason) => format!("{shown} could not be started: {reason}"),
        }
    }

    fn meanwhile(&self) -> &'static str {
        match self {
            Self::NotStarted | Self::Failed(_) => "Answers are made up.",
            Self::Building | Self::Downloading(_) => "Until it is ready, answers are made up.",
            Self::Loading | Self::Lost(_) | Self::Restarting(_) => "Questions wait for it.",
            Self::Ready(_) => "",
        }
    }
}

/// A server that said that it is ready.
pub(super) struct Live {
    pub(super) provider: OpenAiProvider,
    /// Differs between servers; never 0.
    pub(super) edition: u64,
    /// What the server calls its model.
    pub(super) model: Arc<str>,
}

impl Live {
    /// `limits` is the provider's own configuration, which has neither address nor key.
    pub(super) fn new(
        name: &str,
        limits: &ProviderConfig,
        url: Url,
        key: SecretString,
        model: String,
    ) -> Result<Self, ProviderSetupError> {
        let edition = edition_of(&url, &key, &model);
        let config = ProviderConfig {
            base_url: Some(url),
            api_key: Some(key),
            ..limits.clone()
        };
        Ok(Self {
            provider: OpenAiProvider::new(name, &config)?,
            edition,
            model: model.into(),
        })
    }

    /// The body as this server wants it, which may know its model by another name than the catalogue.
    pub(super) fn named(&self, id: &str, body: Bytes) -> Bytes {
        if *self.model == *id {
            return body;
        }
        let named = serde_json::from_slice::<serde_json::Map<_, _>>(&body).and_then(|mut fields| {
            fields.insert("model".to_owned(), (*self.model).into());
            serde_json::to_vec(&fields)
        });
        named.map_or(body, Bytes::from)
    }
}

pub(super) fn edition_of(url: &Url, key: &SecretString, model: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    (url.as_str(), key.expose_secret(), model).hash(&mut hasher);
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::{LocalStatus, Status};

    #[test]
    fn a_made_up_answer_says_why_it_is_one_in_one_sentence() {
        let note = |status: Status| status.note("SmolLM2 135M");
        assert_eq!(
            note(Status::Downloading(42)),
            "This is a canned answer: SmolLM2 135M is still being downloaded (42 %)."
        );
        assert_eq!(
            note(Status::Failed("a compiler is missing".to_owned())),
            "This is a canned answer: SmolLM2 135M could not be started: a compiler is missing."
        );
    }

    #[test]
    fn a_person_is_told_what_becomes_of_questions() {
        assert_eq!(
            Status::Downloading(7).report("M"),
            LocalStatus {
                state: "downloading",
                percent: Some(7),
                sentence: "M is still being downloaded (7 %). Until it is ready, answers are made up.".to_owned(),
            }
        );
        let restarting = Status::Restarting(String::new()).report("M");
        assert_eq!(restarting.sentence, "M is being started again. Questions wait for it.");
        assert!(!restarting.is_ready());
    }
}
