//! A request for a chat completion: read, checked, and what is not supported refused by name.

mod messages;

use serde::Deserialize;
use serde_json::Value;

use super::error::RequestError;
use crate::engine::{prompt::Message, sampler::Sampling};

/// Tokens of an answer for which no limit is given: small models do not end by themselves.
pub const DEFAULT_MAX_TOKENS: usize = 1024;

/// What the authors of the default model recommend; the API's own default, 1, is for larger ones.
const DEFAULT_TEMPERATURE: f64 = 0.2;
const DEFAULT_TOP_P: f64 = 0.9;
const STEADY_TOKENS: u32 = 6;

/// OpenAI's limit.
const MAX_STOPS: usize = 4;
const MAX_STOP_BYTES: usize = 512;

/// The fields that are looked at. Unknown ones are ignored, as llama.cpp's server does.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<Value>,
    #[serde(default)]
    messages: Value,
    #[serde(default)]
    stream: Value,
    #[serde(default)]
    stream_options: Value,
    #[serde(default)]
    temperature: Value,
    #[serde(default)]
    top_p: Value,
    #[serde(default)]
    presence_penalty: Value,
    #[serde(default)]
    frequency_penalty: Value,
    #[serde(default)]
    seed: Value,
    #[serde(default)]
    stop: Value,
    #[serde(default)]
    max_tokens: Value,
    #[serde(default)]
    max_completion_tokens: Value,
    #[serde(default)]
    n: Value,
    #[serde(default)]
    tools: Value,
    #[serde(default)]
    functions: Value,
    #[serde(default)]
    response_format: Value,
    #[serde(default)]
    logprobs: Value,
    #[serde(default)]
    logit_bias: Value,
    #[serde(default)]
    top_logprobs: Value,
    #[serde(default)]
    audio: Value,
    #[serde(default)]
    prediction: Value,
    #[serde(default)]
    web_search_options: Value,
    #[serde(default)]
    modalities: Value,
}

/// A request within what the API allows.
#[derive(Debug, PartialEq)]
pub struct ChatRequest {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub is_stream: bool,
    pub includes_usage: bool,
    pub sampling: Sampling,
    pub stops: Vec<String>,
    pub max_tokens: usize,
}

impl ChatRequest {
    /// `seed` is taken where the request names none.
    pub fn parse(body: &[u8], seed: u64) -> Result<Self, RequestError> {
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(RequestError::NotJson("it must be an object".to_owned()));
        }
        let body: Body = serde_json::from_slice(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
        refuse_unsupported(&body)?;
        let model = match body.model {
            None | Some(Value::Null) => None,
            Some(Value::String(model)) => Some(model),
            Some(_) => return Err(refused("model", "model must be a text")),
        };
        let max_tokens = match limit(&body.max_completion_tokens, "max_completion_tokens")? {
            Some(limit) => limit,
            None => limit(&body.max_tokens, "max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS),
        };
        let number = |value, parameter, default, range| {
            #[allow(clippy::cast_possible_truncation)] // Of 0 to 2, to the engine's precision.
            number(value, parameter, range).map(|found| found.unwrap_or(default) as f32)
        };
        let sampling = Sampling {
            // Who names a temperature gets what they asked for.
            steady_tokens: if body.temperature.is_null() { STEADY_TOKENS } else { 0 },
            temperature: number(&body.temperature, "temperature", DEFAULT_TEMPERATURE, (0.0, 2.0))?,
            top_p: number(&body.top_p, "top_p", DEFAULT_TOP_P, (0.0, 1.0))?,
            presence_penalty: number(&body.presence_penalty, "presence_penalty", 0.0, (-2.0, 2.0))?,
            frequency_penalty: number(&body.frequency_penalty, "frequency_penalty", 0.0, (-2.0, 2.0))?,
            seed: match &body.seed {
                Value::Null => seed,
                value => value
                    .as_i64()
                    .map(i64::cast_unsigned)
                    .or(value.as_u64())
                    .ok_or_else(|| refused("seed", "seed must be a whole number of 64 bits"))?,
            },
        };
        Ok(Self {
            model,
            messages: messages::parse(&body.messages)?,
            is_stream: flag(&body.stream, "stream")?,
            includes_usage: flag(&body.stream_options["include_usage"], "stream_options.include_usage")?,
            sampling,
            stops: stops(&body.stop)?,
            max_tokens,
        })
    }
}

fn refused(parameter: impl Into<String>, message: impl Into<String>) -> RequestError {
    RequestError::Parameter {
        parameter: parameter.into(),
        message: message.into(),
        code: "invalid_value",
    }
}

/// What the API has and this server has not.
fn unsupported(parameter: impl Into<String>, message: impl Into<String>) -> RequestError {
    RequestError::Parameter {
        parameter: parameter.into(),
        message: message.into(),
        code: "unsupported_parameter",
    }
}

fn refuse_unsupported(body: &Body) -> Result<(), RequestError> {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    let fields = [
        ("tools", &body.tools),
        ("functions", &body.functions),
        ("logprobs", &body.logprobs),
        ("logit_bias", &body.logit_bias),
        ("top_logprobs", &body.top_logprobs),
        ("audio", &body.audio),
        ("prediction", &body.prediction),
        ("web_search_options", &body.web_search_options),
    ];
    if let Some((name, _)) = fields.into_iter().find(|(_, value)| !is_empty(value)) {
        return Err(unsupported(
            name,
            format!("this model does not support {name}; leave it out"),
        ));
    }
    let is_text = |modality: &Value| modality == "text";
    if !is_empty(&body.modalities) && !body.modalities.as_array().is_some_and(|all| all.iter().all(is_text)) {
        return Err(unsupported(
            "modalities",
            "this model answers in text only; leave modalities out",
        ));
    }
    if !is_empty(&body.stream_options) && !body.stream_options.is_object() {
        return Err(refused("stream_options", "stream_options must be an object"));
    }
    let format = &body.response_format;
    if !format.is_null() && format["type"] != "text" {
        return Err(unsupported(
            "response_format",
            "this model answers in text only; leave response_format out",
        ));
    }
    match &body.n {
        Value::Null => Ok(()),
        n if n.as_u64() == Some(1) => Ok(()),
        _ => Err(unsupported("n", "n must be 1: this model gives one answer a request")),
    }
}

fn flag(value: &Value, parameter: &str) -> Result<bool, RequestError> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(refused(parameter, format!("{parameter} must be true or false"))),
    }
}

fn number(value: &Value, parameter: &str, (min, max): (f64, f64)) -> Result<Option<f64>, RequestError> {
    if value.is_null() {
        return Ok(None);
    }
    let found = value.as_f64().filter(|found| (min..=max).contains(found));
    let message = || format!("{parameter} must be a number of {min} to {max}");
    found.map(Some).ok_or_else(|| refused(parameter, message()))
}

fn limit(value: &Value, parameter: &str) -> Result<Option<usize>, RequestError> {
    if value.is_null() {
        return Ok(None);
    }
    let found = value
        .as_u64()
        .filter(|limit| *limit >= 1)
        .and_then(|limit| usize::try_from(limit).ok());
    let message = || format!("{parameter} must be a whole number of at least 1");
    found.map(Some).ok_or_else(|| refused(parameter, message()))
}

fn stops(value: &Value) -> Result<Vec<String>, RequestError> {
    let message =
        || format!("stop must be a text or a list of at most {MAX_STOPS} texts of at most {MAX_STOP_BYTES} bytes");
    let text = |value: &Value| {
        let text = value.as_str().filter(|text| text.len() <= MAX_STOP_BYTES);
        text.map(str::to_owned).ok_or_else(|| refused("stop", message()))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(stops) if stops.len() <= MAX_STOPS => stops.iter().map(text).collect(),
        Value::Array(_) => Err(refused("stop", message())),
        one => Ok(vec![text(one)?]),
    }
}
