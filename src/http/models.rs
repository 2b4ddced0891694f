//! `/api/models`: the public catalogue.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{domain::model::Model, service::models::Models};

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
}

impl From<&Model> for ModelBody {
    fn from(model: &Model) -> Self {
        Self {
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
    Json(CatalogueBody {
        data: models.list().map(|model| ModelBody::from(&**model)).collect(),
    })
}
