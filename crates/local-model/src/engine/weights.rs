//! Reads the network's matrices and vectors from a GGUF file into memory.
//!
//! The file is read, not mapped: one that is cut short or replaced later cannot end the process by a signal.

use std::{fs::File, io::BufReader, sync::Arc};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor, ggml_file::qtensor_from_ggml, gguf_file::Content},
};
use candle_nn::{Module, RmsNorm};

/// A matrix to multiply with, packed as small as the file has it.
pub struct Matrix {
    packed: Arc<QTensor>,
    product: QMatMul,
}

/// From so many rows on, unpacking the matrix costs less than it spares: the library multiplies packed numbers row by row, and plain ones
/// in blocks.
const UNPACK_FROM: usize = 8;

impl Matrix {
    fn new(tensor: QTensor) -> Self {
        let packed = Arc::new(tensor);
        Self {
            product: QMatMul::QTensor(Arc::clone(&packed)),
            packed,
        }
    }

    pub fn multiply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        if x.dim(0)? >= UNPACK_FROM {
            x.matmul(&self.packed.dequantize(&Device::Cpu)?.t()?)
        } else {
            self.product.forward(x)
        }
    }
}

/// Why a tensor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error("it has no tensor {0:?}")]
    Missing(String),
    #[error("its tensor {name:?} has the shape {found:?} where {expected:?} is needed")]
    Shape {
        name: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("its tensor {name:?} cannot be read")]
    Read {
        name: String,
        #[source]
        source: candle_core::Error,
    },
}

/// A GGUF file whose header has been read.
pub struct WeightFile {
    pub content: Content,
    pub reader: BufReader<File>,
}

impl WeightFile {
    pub fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// A vector, as 32-bit floats.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Tensor, WeightError> {
        let tensor = self.read(name, &[length])?;
        tensor
            .dequantize(&Device::Cpu)
            .map_err(|source| read_error(name, source))
    }

    pub fn norm(&mut self, name: &str, length: usize, epsilon: f64) -> Result<RmsNorm, WeightError> {
        Ok(RmsNorm::new(self.vector(name, length)?, epsilon))
    }

    /// A matrix to multiply with, of `rows` outputs and `columns` inputs.
    pub fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, WeightError> {
        Ok(Matrix::new(self.read(name, &[rows, columns])?))
    }

    /// The rows of the embedding, and the same matrix to multiply with for models whose output is tied to it.
    pub fn embedding(&mut self, rows: usize, columns: usize) -> Result<(Embedding, Matrix), WeightError> {
        let matrix = Matrix::new(self.read("token_embd.weight", &[rows, columns])?);
        let embedding = Embedding {
            packed: Arc::clone(&matrix.packed),
            columns,
        };
        Ok((embedding, matrix))
    }

    fn read(&mut self, name: &str, expected: &[usize]) -> Result<QTensor, WeightError> {
        let info = self
            .content
            .tensor_infos
            .get(name)
            .ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let found = info.shape.dims();
        if found != expected {
            return Err(WeightError::Shape {
                name: name.to_owned(),
                found: found.to_vec(),
                expected: expected.to_vec(),
            });
        }
        let error = |source| read_error(name, source);
        let tensor = info
            .read(&mut self.reader, self.content.tensor_data_offset, &Device::Cpu)
            .map_err(error)?;
        if !is_slow(tensor.dtype()) {
            return Ok(tensor);
        }
        let plain = tensor.dequantize(&Device::Cpu).map_err(error)?;
        QTensor::quantize(&plain, GgmlDType::Q8_0).map_err(error)
    }
}

/// Formats that the library multiplies without vector instructions. They become 8-bit numbers: twice the memory, four times the speed, and
/// values that differ by less than the format's own rounding.
fn is_slow(format: GgmlDType) -> bool {
    matches!(format, GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1)
}

fn read_error(name: &str, source: candle_core::Error) -> WeightError {
    WeightError::Read {
        name: name.to_owned(),
        source,
    }
}

/// The vector of each token, unpacked when it is looked up: unpacked as a whole it would be the largest thing in memory.
pub struct Embedding {
    packed: Arc<QTensor>,
    columns: usize,
}

impl Embedding {
    /// One row for each of `tokens`.
    pub fn rows(&self, tokens: &[u32]) -> candle_core::Result<Tensor> {
        let format = self.packed.dtype();
        let all = self.packed.data()?;
        let row_bytes = self.columns / format.block_size() * format.type_size();
        let mut rows = Vec::with_capacity(tokens.len() * row_bytes);
        for &token in tokens {
            let start = token as usize * row_bytes;
            let row = all.get(start..start + row_bytes);
            rows.extend_from_slice(row.ok_or_else(|| candle_core::Error::Msg(format!("no token {token}")))?);
        }
        let shape = vec![tokens.len(), self.columns];
        qtensor_from_ggml(format, &rows, shape, &Device::Cpu)?.dequantize(&Device::Cpu)
    }
}
