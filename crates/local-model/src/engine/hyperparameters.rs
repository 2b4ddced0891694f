//! What a GGUF file's metadata says of the network's shape.

use candle_core::quantized::gguf_file::{Content, Value};

/// Why the metadata cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HyperparameterError {
    #[error("its metadata has no usable {0:?}")]
    Missing(String),
    #[error("its architecture is {0:?}; supported are llama, qwen2 and qwen3")]
    Architecture(String),
    #[error("its {key:?} is {value}; {allowed}")]
    OutOfRange {
        key: String,
        value: u64,
        allowed: &'static str,
    },
}

/// How the two halves of a head are rotated by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Neighbours form a pair: files of the `llama` architecture are stored so.
    Interleaved,
    /// The first half is paired with the second: GPT-NeoX's way, which the Qwen family has.
    Halves,
}

/// The shape of a decoder-only transformer of the llama family.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyperparameters {
    pub layers: usize,
    pub embedding: usize,
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` heads.
    pub kv_heads: usize,
    pub head_size: usize,
    /// Tokens that the model was trained on at once.
    pub context: usize,
    pub norm_epsilon: f64,
    pub rotation: Rotation,
    pub rotation_base: f32,
}

/// Far above any model that a CPU answers with; bounds what a damaged file can ask for.
const MAX_DIMENSION: u64 = 1 << 20;

impl Hyperparameters {
    pub fn read(content: &Content) -> Result<Self, HyperparameterError> {
        let missing = |key: &str| HyperparameterError::Missing(key.to_owned());
        let architecture = match content.metadata.get("general.architecture") {
            Some(Value::String(name)) => name.as_str(),
            _ => return Err(missing("general.architecture")),
        };
        let rotation = match architecture {
            "llama" => Rotation::Interleaved,
            "qwen2" | "qwen3" => Rotation::Halves,
            other => return Err(HyperparameterError::Architecture(other.chars().take(64).collect())),
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |name: &str| -> Result<Option<usize>, HyperparameterError> {
            let key = key(name);
            let Some(value) = content.metadata.get(&key) else {
                return Ok(None);
            };
            let value = whole(value).ok_or_else(|| missing(&key))?;
            if value == 0 || value > MAX_DIMENSION {
                let allowed = "it must be 1 to 1048576";
                return Err(HyperparameterError::OutOfRange { key, value, allowed });
            }
            Ok(usize::try_from(value).ok())
        };
        let required = |name: &str| optional(name)?.ok_or_else(|| missing(&key(name)));
        let float = |name: &str| match content.metadata.get(&key(name)) {
            Some(Value::F32(value)) if value.is_finite() => Some(*value),
            _ => None,
        };

        let heads = required("attention.head_count")?;
        let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
        let embedding = required("embedding_length")?;
        let head_size = optional("attention.key_length")?.unwrap_or(embedding / heads);
        if heads % kv_heads != 0 || head_size == 0 || head_size % 2 != 0 {
            return Err(HyperparameterError::OutOfRange {
                key: key("attention.head_count"),
                value: heads as u64,
                allowed: "heads must be a multiple of the key and value heads, and of an even size",
            });
        }
        let layers = required("block_count")?;
        if layers > 1024 {
            return Err(HyperparameterError::OutOfRange {
                key: key("block_count"),
                value: layers as u64,
                allowed: "it must be 1 to 1024",
            });
        }
        Ok(Self {
            layers,
            embedding,
            heads,
            kv_heads,
            head_size,
            context: required("context_length")?,
            norm_epsilon: f64::from(
                float("attention.layer_norm_rms_epsilon")
                    .ok_or_else(|| missing(&key("attention.layer_norm_rms_epsilon")))?,
            ),
            rotation,
            rotation_base: float("rope.freq_base").unwrap_or(10_000.0),
        })
    }

    /// Bytes of keys and values that each token of a conversation takes.
    pub fn bytes_per_token(&self) -> usize {
        2 * self.layers * self.kv_heads * self.head_size * size_of::<f32>()
    }
}

fn whole(value: &Value) -> Option<u64> {
    match *value {
        Value::U8(value) => Some(value.into()),
        Value::U16(value) => Some(value.into()),
        Value::U32(value) => Some(value.into()),
        Value::U64(value) => Some(value),
        Value::I8(value) => value.try_into().ok(),
        Value::I16(value) => value.try_into().ok(),
        Value::I32(value) => value.try_into().ok(),
        Value::I64(value) => value.try_into().ok(),
        _ => None,
    }
}
