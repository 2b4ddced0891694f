//! Ending sessions.

use super::{SessionError, Sessions};
use domain::principal::Credential;
use domain::{
    account::SessionOwner,
    audit::Action,
    ids::{OrganizationId, SessionId},
};
use gateway::audit::act_of;
use gateway::caches;

impl Sessions {
    /// Signs out: at once here, and within a second in other processes.
    pub async fn end(&self, caller: &SessionOwner) -> Result<(), SessionError> {
        let (this, act, user) = (self.clone(), act_of(caller), caller.user);
        let (organization, session) = (caller.organization, caller.session);
        let ending = async move {
            let (action, now) = (Action::SessionSignedOut, this.clock.now());
            // One that was over by now is no reason to refuse.
            this.store.end(organization, user, session, action, &act, now).await?;
            this.note_ended(organization, &[session]).await;
            tracing::info!(target: "mapleai::security", organization_id = %organization, session_id = %session, "signed out");
            Ok(())
        };
        self.caches.run_detached(ending).await
    }

    /// Ends one of the caller's own sessions; false if there is no such session.
    pub async fn end_own(&self, caller: &SessionOwner, session: SessionId) -> Result<bool, SessionError> {
        let (this, act, caller) = (self.clone(), act_of(caller), *caller);
        let ending = async move {
            let (organization, user, now) = (caller.organization, caller.user, this.clock.now());
            let ending = this
                .store
                .end(organization, user, session, Action::SessionEnded, &act, now);
            let ended = ending.await?;
            if ended {
                this.note_ended(caller.organization, &[session]).await;
                tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, session_id = %session, "session ended by its owner");
            }
            Ok(ended)
        };
        self.caches.run_detached(ending).await
    }

    /// Ends every session of the caller but this one.
    pub async fn end_others(&self, caller: &SessionOwner) -> Result<(), SessionError> {
        let (this, act, caller) = (self.clone(), act_of(caller), *caller);
        let ending = async move {
            let ended = this
                .store
                .end_others(caller.organization, caller.user, caller.session, &act, this.clock.now())
                .await?;
            this.note_ended(caller.organization, &ended).await;
            tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, ended = ended.len(), "other sessions ended by their owner");
            Ok(())
        };
        self.caches.run_detached(ending).await
    }

    /// Takes note of sessions that the database has as ended already.
    pub(crate) async fn note_ended(&self, organization: OrganizationId, sessions: &[SessionId]) {
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
