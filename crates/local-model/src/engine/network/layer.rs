//! One layer: attention to the tokens before, and what is made of it.

use candle_core::Tensor;
use candle_nn::{
    Module, RmsNorm,
    kv_cache::KvCache,
    ops::{silu, softmax_last_dim},
    rotary_emb::{rope, rope_i},
};

use crate::engine::{
    hyperparameters::{Hyperparameters, Rotation},
    weights::{Matrix, WeightError, WeightFile},
};

pub(super) struct Layer {
    pub(super) attention_norm: RmsNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    /// Of each head; Qwen 3 has them.
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    output: Matrix,
    pub(super) ffn_norm: RmsNorm,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// A matrix, and what is added to its product; Qwen 2 has biases.
struct Projection {
    matrix: Matrix,
    bias: Option<Tensor>,
}

impl Layer {
    pub(super) fn load(file: &mut WeightFile, shape: &Hyperparameters, index: usize) -> Result<Self, WeightError> {
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
    pub(super) fn attend(
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
                let key_count = keys.dim(1)?;
                let by_head = scores.reshape((heads, count, key_count))?;
                by_head
                    .broadcast_add(mask)?
                    .reshape((groups, heads / groups * count, key_count))?
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

    pub(super) fn feed_forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
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
