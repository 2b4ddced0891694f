//! What the page says after a form: the redirect carries a word, and only words that stand here are shown.

use crate::api_error::ApiError;

/// What was done.
pub(super) fn done(word: &str) -> Option<&'static str> {
    Some(match word {
        "profile" => "Your name is changed.",
        "password" => "Your password is changed. Other sessions of yours are signed out.",
        "role" => "The role is changed.",
        "removed" => "The person is removed: signed out everywhere, and all keys revoked.",
        "withdrawn" => "The invitation is withdrawn.",
        "session" => "The session is ended.",
        "sessions" => "You are signed out everywhere else.",
        "shared" => "Answers are shared: people of the organisation are given each other's.",
        "unshared" => "Answers are no longer shared: everybody is given their own only.",
        "purged" => "Remembered answers are forgotten.",
        "purged_here" => {
            "Remembered answers are forgotten by the instance that you are connected to. Without Redis others cannot be told, and \
             keep theirs until they expire."
        }
        _ => return None,
    })
}

/// Why it was not, by the failure's code.
pub(super) fn fault(code: &str) -> Option<&'static str> {
    Some(match code {
        "not_allowed" => "Your role in the organisation does not allow this.",
        "last_owner" => "An organisation needs at least one owner.",
        "own_account" => "You cannot remove yourself. Another owner or administrator can.",
        _ => return None,
    })
}

/// Where a form that has no fields to mend leads: to the top of the page, where the word is shown. Failures that the page has
/// no words for stay failures.
pub(super) fn address(outcome: Result<&'static str, ApiError>) -> Result<String, ApiError> {
    let (key, word) = match outcome {
        Ok(word) => ("done", word),
        Err(error) if fault(error.code).is_some() => ("fault", error.code),
        Err(error) => return Err(error),
    };
    Ok(format!("/settings?{key}={word}"))
}
