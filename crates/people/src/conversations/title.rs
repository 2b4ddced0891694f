//! A conversation's title, as it is given in the background.

use super::Conversations;
use domain::ids::{ConversationId, OrganizationId, UserId};
use store::StoreError;

impl Conversations {
    /// What it is called, if it is there and has a title.
    pub(crate) async fn title(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: ConversationId,
    ) -> Result<Option<String>, StoreError> {
        let found = self.store.get(organization, user, id).await?;
        Ok(found.and_then(|conversation| conversation.title))
    }

    /// Gives another title if it still has this one; whether it had.
    pub(crate) async fn retitle(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: ConversationId,
        before: &str,
        title: &str,
    ) -> Result<bool, StoreError> {
        let (store, before, title) = (self.store.clone(), before.to_owned(), title.to_owned());
        let writing = async move { store.retitle(organization, user, id, &before, &title).await };
        self.write(organization, user, writing).await
    }
}
