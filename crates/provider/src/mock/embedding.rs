//! Embeddings that are the same for the same text, and have length one.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Refusal, hash};

const DIMENSIONS: u64 = 64;
const MAX_DIMENSIONS: u64 = 3072;
/// As in OpenAI's API.
const MAX_INPUTS: usize = 2048;

pub(super) fn answer(body: &Value) -> Result<Value, Refusal> {
    let inputs = inputs(&body["input"])?;
    let dimensions = match &body["dimensions"] {
        Value::Null => DIMENSIONS,
        value => value
            .as_u64()
            .filter(|dimensions| (1..=MAX_DIMENSIONS).contains(dimensions))
            .ok_or_else(|| {
                Refusal::new(
                    "dimensions",
                    format!("dimensions must be between 1 and {MAX_DIMENSIONS}"),
                )
            })?,
    };
    let base64 = match body["encoding_format"].as_str() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(Refusal::new(
                "encoding_format",
                "encoding_format must be float or base64",
            ));
        }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                Value::from(STANDARD.encode(bytes))
            } else {
                Value::from(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let tokens: usize = inputs.iter().map(|text| text.split_whitespace().count().max(1)).sum();
    Ok(json!({
        "object": "list", "data": data, "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}
    }))
}

/// A text, texts, tokens, or lists of tokens.
fn inputs(input: &Value) -> Result<Vec<String>, Refusal> {
    let refusal = || {
        Refusal::new(
            "input",
            "input must be a text, a list of at most 2048 texts, or lists of tokens",
        )
    };
    match input {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) if list.is_empty() || list.len() > MAX_INPUTS => Err(refusal()),
        Value::Array(list) if list.iter().all(Value::is_u64) => Ok(vec![input.to_string()]),
        Value::Array(list) => list
            .iter()
            .map(|entry| match entry {
                Value::String(text) => Ok(text.clone()),
                Value::Array(tokens) if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => Ok(entry.to_string()),
                _ => Err(refusal()),
            })
            .collect(),
        _ => Err(refusal()),
    }
}

fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let seed = hash(text);
    let mut vector: Vec<f32> = (0..dimensions)
        .map(|index| {
            let bits = hash(&format!("{seed}:{index}"));
            // 16 bits are plenty, and exact in a float.
            f32::from((bits >> 48) as u16) / 32_768.0 - 1.0
        })
        .collect();
    let length = vector
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    for value in &mut vector {
        *value /= length;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::answer;
    use serde_json::json;

    #[test]
    fn vectors_are_stable_and_of_length_one() {
        let ask = |body| answer(&body).ok().unwrap();
        let first = ask(json!({"model": "e", "input": ["a", "b"]}));
        assert_eq!(first, ask(json!({"model": "e", "input": ["a", "b"]})));
        let vector: Vec<f64> = first["data"][0]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        assert_eq!(vector.len(), 64);
        assert!((vector.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-5);
        assert_ne!(first["data"][0]["embedding"], first["data"][1]["embedding"]);
        let base64 = ask(json!({"model": "e", "input": "a", "encoding_format": "base64", "dimensions": 3}));
        assert_eq!(base64["data"][0]["embedding"].as_str().unwrap().len(), 16);
    }

    #[test]
    fn refuses_what_a_server_refuses() {
        for bad in [
            json!({}),
            json!({"input": []}),
            json!({"input": [1, "a"]}),
            json!({"input": "a", "dimensions": 0}),
            json!({"input": "a", "encoding_format": "x"}),
        ] {
            assert!(answer(&bad).is_err(), "{bad}");
        }
    }
}
