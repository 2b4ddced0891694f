//! The page of API keys.

use axum::{extract::State, response::Response};
use http::HeaderMap;

use super::{draw, viewer};
use crate::{
    auth::extract::CurrentUser,
    domain::{model::ModelKind, page::PageRequest},
    failure::Failure,
    service::{accounts::Accounts, api_keys::ApiKeys, models::Models},
    web::{
        Site,
        views::{KeyRow, KeysPage},
    },
};

pub(super) async fn keys(
    State(accounts): State<Accounts>,
    State(keys): State<ApiKeys>,
    State(models): State<Models>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let day = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%d").to_string();
    let listed = keys
        .list(
            &caller,
            PageRequest {
                limit: 100,
                after: None,
            },
        )
        .await?;
    let example = models.list().find(|model| model.kind == ModelKind::Chat);
    draw(&KeysPage {
        viewer: viewer(&accounts, &site, &caller, &headers).await?,
        keys: listed
            .rows
            .into_iter()
            .map(|key| KeyRow {
                id: key.id.to_string(),
                name: key.name,
                prefix: key.prefix,
                created: day(key.created_at),
                expires: key.expires_at.map_or_else(|| "never".to_owned(), day),
                last_used: key.last_used_at.map_or_else(
                    || "never".to_owned(),
                    |time| time.format("%Y-%m-%d %H:%M UTC").to_string(),
                ),
            })
            .collect(),
        base_url: site.base_url(),
        example_model: example.map_or_else(|| "model".to_owned(), |model| model.id.to_string()),
    })
}
