//! Ending sessions.

use super::{SessionError, Sessions};
use crate::{
    domain::{
        account::SessionOwner,
        ids::{OrganizationId, SessionId},
    },
    service::{caches, live_calls::Credential},
};

impl Sessions {
    /// Signs out: at once here, and within a second in other processes.
    pub async fn end(&self, organization: OrganizationId, session: SessionId) -> Result<(), SessionError> {
        let this = self.clone();
        let ending = async move {
            this.store.end(organization, session, this.clock.now()).await?;
            this.note_ended(organization, &[session]).await;
            tracing::info!(target: "mapleai::security", organization_id = %organization, session_id = %session, "signed out");
            Ok(())
        };
        self.caches.carry_out(ending).await
    }

    /// Ends one of the caller's own sessions; false if there is no such session.
    pub async fn end_own(&self, caller: &SessionOwner, session: SessionId) -> Result<bool, SessionError> {
        let (this, caller) = (self.clone(), *caller);
        let ending = async move {
            let ended = this
                .store
                .end_own(caller.organization, caller.user, session, this.clock.now())
                .await?;
            if ended {
                this.note_ended(caller.organization, &[session]).await;
                tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, session_id = %session, "session ended by its owner");
            }
            Ok(ended)
        };
        self.caches.carry_out(ending).await
    }

    /// Ends every session of the caller but this one.
    pub async fn end_others(&self, caller: &SessionOwner) -> Result<(), SessionError> {
        let (this, caller) = (self.clone(), *caller);
        let ending = async move {
            let ended = this
                .store
                .end_others(caller.organization, caller.user, caller.session, this.clock.now())
                .await?;
            this.note_ended(caller.organization, &ended).await;
            tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, ended = ended.len(), "other sessions ended by their owner");
            Ok(())
        };
        self.caches.carry_out(ending).await
    }

    /// Takes note of sessions that the database has as ended already.
    pub(in crate::service) async fn note_ended(&self, organization: OrganizationId, sessions: &[SessionId]) {
        for session in sessions {
            self.ended.insert(*session, ());
            self.live.end(Credential::Session(*session));
        }
        let keys: Vec<_> = sessions
            .iter()
            .map(|session| caches::session_key(organization, *session))
            .collect();
        self.caches.sessions.invalidate(&keys).await;
    }
}
