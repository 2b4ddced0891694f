//! The network: from tokens to the scores of the token that follows.

mod layer;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Module, RmsNorm, kv_cache::KvCache};

use super::{
    hyperparameters::Hyperparameters,
    weights::{Embedding, Matrix, WeightError, WeightFile},
};
use layer::Layer;

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
