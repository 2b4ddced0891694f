//! The page of API keys.

use axum::{extract::State, response::Response};
use http::HeaderMap;
use serde::Deserialize;

use super::{draw, viewer};
use crate::{
    api_error::ApiError,
    auth::extract::CurrentUser,
    http::extract::{Parameters, read_cursor},
    web::{
        Site,
        figures::Moment,
        views::{KeyRow, KeysPage},
    },
};
use domain::page::{Cursor, PageRequest};
use gateway::models::Models;
use people::{accounts::Accounts, api_keys::ApiKeys};

/// Keys on one page.
const LISTED: u16 = 100;

#[derive(Deserialize)]
pub(super) struct KeysQuery {
    cursor: Option<String>,
}

pub(super) async fn keys(
    State(accounts): State<Accounts>,
    State(keys): State<ApiKeys>,
    State(models): State<Models>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
    Parameters(query): Parameters<KeysQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = read_cursor(query.cursor.as_deref())?;
    let listed = keys.list(&caller, PageRequest { limit: LISTED, after }).await?;
    models.first_look().await;
    let example = models.preferred_chat();
    draw(&KeysPage {
        viewer: viewer(&accounts, &site, &caller, &headers).await?,
        older: listed.next.map(Cursor::encode),
        is_newest: after.is_none(),
        keys: listed
            .rows
            .into_iter()
            .map(|key| KeyRow {
                id: key.id.to_string(),
                name: key.name,
                prefix: key.prefix,
                made_by: key.maker_name,
                created: Moment::day(key.created_at),
                expires: key.expires_at.map_or_else(Moment::never, Moment::day),
                last_used: key.last_used_at.map_or_else(Moment::never, Moment::minute),
            })
            .collect(),
        pattern: KeyRow {
            last_used: Moment::never(),
            ..KeyRow::default()
        },
        base_url: site.base_url(),
        example_model: example.map_or_else(|| "model".to_owned(), |model| model.id.to_string()),
    })
}
