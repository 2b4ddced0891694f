//! Which features are used, counted for whoever decides what to build next.

use metrics::{Counter, counter};

use crate::metrics::{FEATURE_USES, SIGN_INS, SIGN_UPS};

/// What people and programs do with the service.
#[derive(Debug, Clone, Copy)]
pub enum Feature {
    QuestionAsked,
    AnswerRegenerated,
    ProgramChat,
    ProgramEmbeddings,
    KeyMade,
    InvitationSent,
}

impl Feature {
    /// For where it is counted often.
    pub fn counter(self) -> Counter {
        let name = match self {
            Self::QuestionAsked => "question_asked",
            Self::AnswerRegenerated => "answer_regenerated",
            Self::ProgramChat => "program_chat",
            Self::ProgramEmbeddings => "program_embeddings",
            Self::KeyMade => "key_made",
            Self::InvitationSent => "invitation_sent",
        };
        counter!(FEATURE_USES, "feature" => name)
    }

    pub fn note(self) {
        self.counter().increment(1);
    }
}

/// Somebody joined: with an organisation of their own, or by invitation.
pub fn signed_up(kind: &'static str) {
    counter!(SIGN_UPS, "kind" => kind).increment(1);
}

/// Somebody tried to sign in: accepted, refused or throttled.
pub fn signed_in(outcome: &'static str) {
    counter!(SIGN_INS, "outcome" => outcome).increment(1);
}
