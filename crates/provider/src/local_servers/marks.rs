//! What each product is known by. Each mark is something that only this product answers; a list of models alone is none, for any
//! program may give one.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    LocalModelServer, NotFound,
    get::get,
    lists::{LmStudioList, OllamaList, OpenAiList},
};
use configuration::{LocalProduct, LocalServer};

/// Common to llama.cpp and vLLM.
const MODELS: &str = "/v1/models";

/// Gives what the server lists, if it is one of the product.
pub(super) async fn identify(server: LocalServer) -> Result<LocalModelServer, NotFound> {
    let (models, left_out) = match server.product {
        LocalProduct::Ollama => ollama(server).await?.taken(),
        LocalProduct::LmStudio => lm_studio(server).await?.taken(),
        LocalProduct::LlamaCpp => llama_cpp(server).await?.taken(),
        LocalProduct::Vllm => vllm(server).await?.taken(),
    };
    let LocalServer { product, port } = server;
    Ok(LocalModelServer {
        product,
        port,
        models,
        left_out,
    })
}

/// It says at its root that it is running. A proxy before it may have another root; then its version has to do.
async fn ollama(server: LocalServer) -> Result<OllamaList, NotFound> {
    let list = json(server, "/api/tags").await?;
    let (status, root) = answer(server, "/").await?;
    if !(status.is_success() && root.trim_ascii() == b"Ollama is running") {
        let version: Map<String, Value> = json(server, "/api/version").await?;
        // And nothing else: a program that answers every path alike has no such answer.
        let is_version = version.len() == 1 && version.get("version").is_some_and(Value::is_string);
        is_version.then_some(()).ok_or(foreign(server, "/api/version"))?;
    }
    Ok(list)
}

async fn lm_studio(server: LocalServer) -> Result<LmStudioList, NotFound> {
    const OWN: &str = "/api/v0/models";
    let list: LmStudioList = json(server, OWN).await?;
    list.is_genuine().then_some(list).ok_or(foreign(server, OWN))
}

/// It lists its models without a key, even where it wants one for all else: its properties tell whether it does.
async fn llama_cpp(server: LocalServer) -> Result<OpenAiList, NotFound> {
    const PROPERTIES: &str = "/props";
    let list: OpenAiList = json(server, MODELS).await?;
    let (status, properties) = answer(server, PROPERTIES).await?;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let path = PROPERTIES;
        return Err(NotFound::Status { path, status });
    }
    let has_properties = || {
        let properties = serde_json::from_slice::<Map<String, Value>>(&properties).unwrap_or_default();
        status.is_success()
            && properties
                .get("default_generation_settings")
                .is_some_and(Value::is_object)
    };
    let is_one = list.is_owned_by("llamacpp") || has_properties();
    is_one.then_some(list).ok_or(foreign(server, MODELS))
}

async fn vllm(server: LocalServer) -> Result<OpenAiList, NotFound> {
    const VERSION: &str = "/version";
    let version: Map<String, Value> = json(server, VERSION).await?;
    if !version.get("version").is_some_and(Value::is_string) {
        return Err(foreign(server, VERSION));
    }
    let list: OpenAiList = json(server, MODELS).await?;
    list.is_owned_by("vllm").then_some(list).ok_or(foreign(server, MODELS))
}

fn foreign(server: LocalServer, path: &'static str) -> NotFound {
    let product = server.product;
    NotFound::Foreign { path, product }
}

async fn json<T: DeserializeOwned>(server: LocalServer, path: &'static str) -> Result<T, NotFound> {
    let (status, body) = answer(server, path).await?;
    if status != StatusCode::OK {
        return Err(NotFound::Status { path, status });
    }
    serde_json::from_slice(&body).map_err(|_| foreign(server, path))
}

async fn answer(server: LocalServer, path: &'static str) -> Result<(StatusCode, bytes::Bytes), NotFound> {
    let asked = get(server.port, path).await;
    asked.map_err(|source| NotFound::Get { path, source })
}
