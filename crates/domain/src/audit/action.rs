//! What can be done that is audited. The names are part of the API and of what is stored: they stay.

use std::str::FromStr;

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $words:literal;)+) => {
        /// An audited action.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {$($(#[$doc])* $variant,)+}

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Stable, for programs.
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $name,)+}
            }

            /// For people.
            pub fn words(self) -> &'static str {
                match self {$(Self::$variant => $words,)+}
            }
        }
    };
}

actions! {
    OrganizationRegistered = "organization.registered", "Organisation registered";
    OrganizationSharingChanged = "organization.sharing_changed", "Sharing of answers changed";
    OrganizationDeletionRequested = "organization.deletion_requested", "Deletion of the organisation requested";
    /// By a person, or with the role of whoever asked for it.
    OrganizationDeletionCancelled = "organization.deletion_cancelled", "Deletion of the organisation cancelled";
    MemberRoleChanged = "member.role_changed", "Role changed";
    MemberRemoved = "member.removed", "Member removed";
    /// By its owner.
    AccountErased = "account.erased", "Account erased";
    /// An invited person of another organisation holds the address now; the account signs in with it as before.
    AccountAddressDisplaced = "account.address_displaced", "E-mail address given up to an invited account";
    InvitationCreated = "invitation.created", "Invitation created";
    InvitationWithdrawn = "invitation.withdrawn", "Invitation withdrawn";
    InvitationAccepted = "invitation.accepted", "Invitation accepted";
    ApiKeyCreated = "api_key.created", "API key created";
    ApiKeyRevoked = "api_key.revoked", "API key revoked";
    SessionSignedIn = "session.signed_in", "Signed in";
    SessionSignInFailed = "session.sign_in_failed", "Sign-in failed";
    SessionSignedOut = "session.signed_out", "Signed out";
    /// By its owner from another session, or by MapleAI.
    SessionEnded = "session.ended", "Session ended";
    PasswordChanged = "password.changed", "Password changed";
    /// By an operator.
    PasswordReset = "password.reset", "Password reset";
    PasswordConfirmed = "password.confirmed", "Password confirmed";
    PasswordNotConfirmed = "password.not_confirmed", "Wrong password given to confirm";
    ConversationDeleted = "conversation.deleted", "Conversation deleted";
    CachePurged = "cache.purged", "Remembered answers purged";
}

/// No action has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", Action::names())]
pub struct UnknownAction;

impl Action {
    fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|action| action.as_str()).collect();
        names.join(", ")
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let found = Self::ALL.iter().find(|action| action.as_str() == text);
        found.copied().ok_or(UnknownAction)
    }
}

#[cfg(test)]
mod tests {
    use super::Action;

    #[test]
    fn names_are_read_as_they_are_written_and_no_two_are_the_same() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
        }
        let refusal = "member.promoted".parse::<Action>().unwrap_err().to_string();
        assert!(
            refusal.contains("member.role_changed") && refusal.contains("cache.purged"),
            "{refusal}"
        );
    }
}
