//! `/v1/models`: the catalogue in OpenAI's form.

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api_error::ApiError;
use domain::model::Model;
use gateway::models::Models;

#[derive(Serialize, ToSchema)]
pub struct OpenAiModel {
    id: String,
    /// Always `model`.
    object: &'static str,
    /// Always 0: the catalogue does not know when a provider made its model.
    created: u64,
    owned_by: String,
}

impl From<&Model> for OpenAiModel {
    fn from(model: &Model) -> Self {
        Self {
            id: model.id.to_string(),
            object: "model",
            created: 0,
            owned_by: model.provider.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct OpenAiModelList {
    /// Always `list`.
    object: &'static str,
    data: Vec<OpenAiModel>,
}

/// The models a program may ask for.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI API", responses((status = 200, description = "The catalogue", body = OpenAiModelList)))]
pub async fn list(State(models): State<Models>) -> Json<OpenAiModelList> {
    models.first_look().await;
    Json(OpenAiModelList {
        object: "list",
        data: models.list().map(|model| OpenAiModel::from(&**model)).collect(),
    })
}

/// One model. Its id may hold slashes, which may be escaped or not: OpenAI's packages do not all escape them
/// (ollama/ollama #10139).
#[utoipa::path(get, path = "/v1/models/{*id}", tag = "OpenAI API", params(("id" = String, Path)), responses((status = 200, description = "The model", body = OpenAiModel)))]
pub async fn get(State(models): State<Models>, Path(id): Path<String>) -> Result<Json<OpenAiModel>, ApiError> {
    if models.get(&id).is_none() {
        models.first_look().await;
    }
    models
        .get(&id)
        .map(|model| Json(OpenAiModel::from(&**model)))
        .ok_or_else(|| {
            let shown: String = id.chars().take(128).collect();
            ApiError::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                format!("the model `{shown}` does not exist. GET /v1/models lists those there are."),
            )
            .param("model")
        })
}
