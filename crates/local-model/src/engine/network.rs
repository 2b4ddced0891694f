//! The network: from tokens to the scores of the token that follows.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{
    Module, RmsNorm,
    kv_cache::KvCache,
    ops::{silu, softmax_last_dim},
    rotary_emb::{rope, rope_i},
};

use super::{
    hyperparameters::{Hyperparameters, Rotation},
    weights::{Embedding, Matrix, WeightError, WeightFile},
};

/// Why tokens could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// The caller is gone.
    #[error("given up")]
    GivenUp,
    #[error("the computation failed")]
    Failed(#[from] candle_core::Error),
}

/// The weights, shared by all conversations.
pub struct Network {
    pub shape: Hyperparameters,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: Matrix,
    cos: Tensor,
    sin: Tensor,
}

struct Layer {
    attention_norm: RmsNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    /// Of each head; Qwen 3 has them.
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    output: Matrix,
    ffn_norm: RmsNorm,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// A matrix, and what is added to its product; Qwen 2 has biases.
struct Projection {
    matrix: Matrix,
    bias: Option<Tensor>,
}

/// The keys and values of one conversation's tokens so far: all that the network remembers of it.
pub struct Memory {
    layers: Vec<KvCache>,
    length: usize,
}

impl Memory {
    pub fn tokens(&self) -> usize {
        self.length
    }
}

impl Network {
    /// `vocabulary` is the number of tokens, `context` the longest conversation.
    pub fn load(
        file: &mut WeightFile,
        shape: Hyperparameters,
        vocabulary: usize,
        context: u32,
    ) -> Result<Self, WeightError> {
        let (embedding, tied) = file.embedding(vocabulary, shape.embedding)?;
        let output = if file.has("output.weight") {
            file.matrix("output.weight", vocabulary, shape.embedding)?
        } else {
            tied
        };
        let norm = file.norm("output_norm.weight", shape.embedding, shape.norm_epsilon)?;
        let layers = (0..shape.layers)
            .map(|index| Layer::load(file, &shape, index))
            .collect::<Result<_, _>>()?;
        let (cos, sin) = rotations(&shape, context).map_err(|source| WeightError::Read {
            name: "positions".to_owned(),
            source,
        })?;
        Ok(Self {
            shape,
            embedding,
            layers,
            norm,
            output,
            cos,
            sin,
        })
    }

    /// Nothing remembered, and room for `tokens`. Pages of it are taken as they are written to.
    pub fn memory(&self, tokens: usize) -> Memory {
        let layers = self.layers.iter().map(|_| KvCache::new(1, tokens)).collect();
        Memory { layers, length: 0 }
    }

    /// Reads `tokens` after those that `memory` holds, and gives the scores of the one that follows the last, one for each token of
    /// the vocabulary. `is_given_up` is asked before each layer, so that a caller who hangs up frees the processor within
    /// milliseconds, however long the prompt.
    pub fn read(
        &self,
        tokens: &[u32],
        memory: &mut Memory,
        is_given_up: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, ComputeError> {
        let past = memory.length;
        let count = tokens.len();
        let cos = self.cos.narrow(0, past, count)?;
        let sin = self.sin.narrow(0, past, count)?;
        let mask = (count > 1).then(|| causal_mask(count, past)).transpose()?;
        let mut x = self.embedding.rows(tokens)?;
        for (layer, remembered) in self.layers.iter().zip(&mut memory.layers) {
            if is_given_up() {
                return Err(ComputeError::GivenUp);
            }
            let attended = layer.attend(
                &layer.attention_norm.forward(&x)?,
                &self.shape,
                (&cos, &sin),
                mask.as_ref(),
                remembered,
            )?;
            x = (x + attended)?;
            x = (layer.feed_forward(&layer.ffn_norm.forward(&x)?)? + x)?;
        }
        memory.length += count;
        let last = x.narrow(0, count - 1, 1)?;
        let scores = self.output.multiply(&self.norm.forward(&last)?)?;
        Ok(scores.squeeze(0)?.to_vec1()?)
    }
}

impl Layer {
    fn load(file: &mut WeightFile, shape: &Hyperparameters, index: usize) -> Result<Self, WeightError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let queries = shape.heads * shape.head_size;
        let keys = shape.kv_heads * shape.head_size;
        let inner = file
            .content
            .tensor_infos
            .get(&name("ffn_gate.weight"))
            .and_then(|info| info.shape.dims().first().copied())
            .ok_or_else(|| WeightError::Missing(name("ffn_gate.weight")))?;
        let mut projection = |part: &str, rows: usize| -> Result<Projection, WeightError> {
            let bias = name(&format!("{part}.bias"));
            Ok(Projection {
                matrix: file.matrix(&name(&format!("{part}.weight")), rows, shape.embedding)?,
                bias: file.has(&bias).then(|| file.vector(&bias, rows)).transpose()?,
            })
        };
        let (query, key, value) = (
            projection("attn_q", queries)?,
            projection("attn_k", keys)?,
            projection("attn_v", keys)?,
        );
        let mut head_norm = |part: &str| -> Result<Option<RmsNorm>, WeightError> {
            let name = name(part);
            let norm = file
                .has(&name)
                .then(|| file.norm(&name, shape.head_size, shape.norm_epsilon));
            norm.transpose()
        };
        Ok(Self {
            query_norm: head_norm("attn_q_norm.weight")?,
            key_norm: head_norm("attn_k_norm.weight")?,
            query,
            key,
            value,
            attention_norm: file.norm(&name("attn_norm.weight"), shape.embedding, shape.norm_epsilon)?,
            output: file.matrix(&name("attn_output.weight"), shape.embedding, queries)?,
            ffn_norm: file.norm(&name("ffn_norm.weight"), shape.embedding, shape.norm_epsilon)?,
            gate: file.matrix(&name("ffn_gate.weight"), inner, shape.embedding)?,
            up: file.matrix(&name("ffn_up.weight"), inner, shape.embedding)?,
            down: file.matrix(&name("ffn_down.weight"), shape.embedding, inner)?,
        })
    }

    /// Grouped-query attention: each key and value head is multiplied once, with all the heads that it serves stacked on each other.
    fn attend(
        &self,
        x: &Tensor,
        shape: &Hyperparameters,
        (cos, sin): (&Tensor, &Tensor),
        mask: Option<&Tensor>,
        remembered: &mut KvCache,
    ) -> candle_core::Result<Tensor> {
        let count = x.dim(0)?;
        let (heads, groups, size) = (shape.heads, shape.kv_heads, shape.head_size);
        let rotate = |x: Tensor| {
            let x = x.unsqueeze(0)?;
            let turned = match shape.rotation {
                Rotation::Interleaved => rope_i(&x, cos, sin),
                Rotation::Halves => rope(&x, cos, sin),
            };
            turned?.squeeze(0)
        };
        let query = self.query.forward(x, heads, size, self.query_norm.as_ref())?;
        let key = self.key.forward(x, groups, size, self.key_norm.as_ref())?;
        let value = self.value.forward(x, groups, size, None)?;
        let query = rotate(query)?.reshape((groups, heads / groups * count, size))?;
        let (keys, values) = remembered.append(&rotate(key)?, &value)?;

        let scores = (query.matmul(&keys.t()?)? * (1.0 / (size as f64).sqrt()))?;
        let scores = match mask {
            Some(mask) => {
                let known = keys.dim(1)?;
                let by_head = scores.reshape((heads, count, known))?;
                by_head
                    .broadcast_add(mask)?
                    .reshape((groups, heads / groups * count, known))?
            }
            None => scores,
        };
        let weights = softmax_last_dim(&scores)?;
        let attended = weights
            .matmul(&values)?
            .reshape((heads, count, size))?
            .transpose(0, 1)?
            .reshape((count, heads * size))?;
        self.output.multiply(&attended)
    }

    fn feed_forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let gate = silu(&self.gate.multiply(x)?)?;
        self.down.multiply(&(gate * self.up.multiply(x)?)?)
    }
}

impl Projection {
    /// From `(tokens, embedding)` to `(heads, tokens, size)`.
    fn forward(&self, x: &Tensor, heads: usize, size: usize, norm: Option<&RmsNorm>) -> candle_core::Result<Tensor> {
        let mut product = self.matrix.multiply(x)?;
        if let Some(bias) = &self.bias {
            product = product.broadcast_add(bias)?;
        }
        let by_head = product.reshape((x.dim(0)?, heads, size))?;
        let by_head = match norm {
            Some(norm) => norm.forward(&by_head)?,
            None => by_head,
        };
        by_head.transpose(0, 1)?.contiguous()
    }
}

/// Cosines and sines of each position, `(context, head size / 2)`.
fn rotations(shape: &Hyperparameters, context: u32) -> candle_core::Result<(Tensor, Tensor)> {
    let half = shape.head_size / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|index| shape.rotation_base.powf(-(index as f32) / half as f32))
        .collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), &Device::Cpu)?;
    let positions = Tensor::arange(0, context, &Device::Cpu)?
        .to_dtype(DType::F32)?
        .reshape(((), 1))?;
    let angles = positions.matmul(&frequencies)?;
    debug_assert_eq!(angles.dim(D::Minus1)?, half);
    Ok((angles.cos()?, angles.sin()?))
}

/// Hides from each of `count` new tokens those that come after it; it sees the `past` ones.
fn causal_mask(count: usize, past: usize) -> candle_core::Result<Tensor> {
    let hidden: Vec<f32> = (0..count)
        .flat_map(|row| (0..past + count).map(move |column| if column > past + row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(hidden, (count, past + count), &Device::Cpu)
}
