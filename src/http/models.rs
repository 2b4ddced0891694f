//! `/api/models`: the public catalogue.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use domain::model::Model;
use gateway::models::Models;
use provider::local::LocalStatus;

#[derive(Serialize, ToSchema)]
pub struct ModelBody {
    id: String,
    name: String,
    /// `chat` or `embedding`.
    kind: &'static str,
    provider: String,
    /// Decimal, in `currency`.
    input_price_per_million: String,
    /// For input tokens that the provider had from earlier calls.
    cached_input_price_per_million: String,
    output_price_per_million: String,
    /// Always `USD`.
    currency: &'static str,
    /// Only of a model that a process beside MapleAI runs, in development.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<LocalBody>,
}

/// How a model is that runs beside MapleAI.
#[derive(Serialize, ToSchema)]
pub struct LocalBody {
    /// `not_started`, `building`, `downloading`, `loading`, `ready`, `restarting` or `failed`. In each but `ready` a question gets
    /// a made-up answer in the end, which says so.
    state: &'static str,
    /// Of the download.
    percent: Option<u8>,
    /// The same for people.
    sentence: String,
}

impl From<LocalStatus> for LocalBody {
    fn from(status: LocalStatus) -> Self {
        Self {
            state: status.state,
            percent: status.percent,
            sentence: status.sentence,
        }
    }
}

impl ModelBody {
    fn new(model: &Model, local: Option<LocalStatus>) -> Self {
        Self {
            local: local.map(Into::into),
            id: model.id.to_string(),
            name: model.name.to_string(),
            kind: model.kind.as_str(),
            provider: model.provider.to_string(),
            input_price_per_million: model.input_price.to_string(),
            cached_input_price_per_million: model.cached_input_price.to_string(),
            output_price_per_million: model.output_price.to_string(),
            currency: "USD",
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CatalogueBody {
    data: Vec<ModelBody>,
}

/// The models on offer, with prices.
#[utoipa::path(get, path = "/api/models", tag = "Models", responses((status = 200, description = "The catalogue, by id", body = CatalogueBody)))]
pub async fn list(State(models): State<Models>) -> Json<CatalogueBody> {
    models.first_look().await;
    Json(CatalogueBody {
        data: models
            .list()
            .map(|model| ModelBody::new(model, models.local_status(model)))
            .collect(),
    })
}
