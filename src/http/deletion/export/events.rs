//! What the audit log has of the doing of whoever exports.

use std::io;

use axum::body::Bytes;

use super::{Export, Next, part};
use crate::http::audit::AuditEventBody;
use domain::page::PageRequest;

impl Export {
    /// Some of what the caller did, and what comes then.
    pub(super) async fn events(&self, page: PageRequest) -> io::Result<(Bytes, Next)> {
        let found = self.audit.list_own(&self.caller, page).await;
        let found = found.map_err(io::Error::other)?;
        let mut is_first = page.after.is_none();
        let mut bytes = if is_first {
            b"],\"audit_events\":[".to_vec()
        } else {
            Vec::new()
        };
        for event in found.rows {
            if !std::mem::take(&mut is_first) {
                bytes.push(b',');
            }
            serde_json::to_writer(&mut bytes, &AuditEventBody::from(event))?;
        }
        Ok((
            bytes.into(),
            found.next.map_or(Next::Tail, |after| Next::Events(part(Some(after)))),
        ))
    }
}
