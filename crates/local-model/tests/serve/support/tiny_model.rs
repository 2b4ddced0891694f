//! A chat model of a few kilobytes with random weights, written as a GGUF file: whatever it says, it says the same each time.
//!
//! Its tokens are the 256 bytes and three control tokens. Only letters and spaces have scores, so that its text is readable and it never
//! ends by itself.

use std::{fs::File, path::Path};

use candle_core::{
    Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

const EMBEDDING: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const INNER: usize = 96;
const LAYERS: usize = 2;
pub(crate) const VOCABULARY: usize = 259;

/// `<|im_start|>`, `<|im_end|>`, `<|endoftext|>`.
pub(crate) const CONTROLS: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];

pub(crate) const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
                            {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// What can be different from the usual file.
pub(crate) struct TinyModel {
    pub(crate) context: u32,
    pub(crate) template: Option<String>,
    pub(crate) architecture: &'static str,
    pub(crate) rules: &'static str,
}

impl Default for TinyModel {
    fn default() -> Self {
        Self {
            context: 512,
            template: Some(TEMPLATE.to_owned()),
            architecture: "llama",
            rules: "smollm",
        }
    }
}

impl TinyModel {
    pub(crate) fn write(&self, path: &Path) {
        let metadata = self.metadata();
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors = tensors();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = File::create(path).expect("create the file");
        gguf_file::write(&mut file, &metadata, &tensors).expect("write the file");
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let shape = |name: &str| format!("{}.{name}", self.architecture);
        let number = |value: usize| Value::U32(u32::try_from(value).expect("small"));
        let tokens = bytes_as_characters()
            .map(String::from)
            .chain(CONTROLS.map(str::to_owned));
        let kinds = (0..VOCABULARY).map(|id| Value::I32(if id < 256 { 1 } else { 3 }));
        let mut all = vec![
            (
                "general.architecture".to_owned(),
                Value::String(self.architecture.to_owned()),
            ),
            ("general.name".to_owned(), Value::String("Tiny".to_owned())),
            (shape("block_count"), number(LAYERS)),
            (shape("context_length"), Value::U32(self.context)),
            (shape("embedding_length"), number(EMBEDDING)),
            (shape("attention.head_count"), number(HEADS)),
            (shape("attention.head_count_kv"), number(KV_HEADS)),
            (shape("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)),
            (shape("rope.freq_base"), Value::F32(10_000.0)),
            ("tokenizer.ggml.model".to_owned(), Value::String("gpt2".to_owned())),
            ("tokenizer.ggml.pre".to_owned(), Value::String(self.rules.to_owned())),
            (
                "tokenizer.ggml.tokens".to_owned(),
                Value::Array(tokens.map(Value::String).collect()),
            ),
            ("tokenizer.ggml.token_type".to_owned(), Value::Array(kinds.collect())),
            ("tokenizer.ggml.merges".to_owned(), Value::Array(Vec::new())),
            ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(257)),
        ];
        if let Some(template) = &self.template {
            all.push(("tokenizer.chat_template".to_owned(), Value::String(template.clone())));
        }
        all
    }
}

fn tensors() -> Vec<(String, QTensor)> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut tensor = |name: String, dimensions: &[usize], scale: f32, offset: f32| {
        let count = dimensions.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| (random.random::<f32>() - 0.5) * scale + offset)
            .collect();
        (name, packed(values, dimensions))
    };
    let head = EMBEDDING / HEADS;
    let mut all = vec![
        tensor("token_embd.weight".to_owned(), &[VOCABULARY, EMBEDDING], 2.0, 0.0),
        tensor("output_norm.weight".to_owned(), &[EMBEDDING], 0.1, 1.0),
        ("output.weight".to_owned(), output()),
    ];
    for layer in 0..LAYERS {
        let mut matrix = |part: &str, rows: usize, columns: usize| {
            all.push(tensor(format!("blk.{layer}.{part}.weight"), &[rows, columns], 0.5, 0.0));
        };
        matrix("attn_q", EMBEDDING, EMBEDDING);
        matrix("attn_k", KV_HEADS * head, EMBEDDING);
        matrix("attn_v", KV_HEADS * head, EMBEDDING);
        matrix("attn_output", EMBEDDING, EMBEDDING);
        matrix("ffn_gate", INNER, EMBEDDING);
        matrix("ffn_up", INNER, EMBEDDING);
        matrix("ffn_down", EMBEDDING, INNER);
        for norm in ["attn_norm", "ffn_norm"] {
            all.push(tensor(format!("blk.{layer}.{norm}.weight"), &[EMBEDDING], 0.1, 1.0));
        }
    }
    all
}

/// Scores for small letters and the space; none for anything else.
fn output() -> QTensor {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let row = |token: usize, random: &mut ChaCha8Rng| -> Vec<f32> {
        let is_readable = (97..123).contains(&token) || token == 32;
        let scale = if is_readable { 2.0 } else { 0.0 };
        (0..EMBEDDING).map(|_| (random.random::<f32>() - 0.5) * scale).collect()
    };
    let values = (0..VOCABULARY)
        .flat_map(|token| row(byte_of(token), &mut random))
        .collect();
    packed(values, &[VOCABULARY, EMBEDDING])
}

fn packed(values: Vec<f32>, dimensions: &[usize]) -> QTensor {
    let tensor = Tensor::from_vec(values, dimensions, &Device::Cpu).expect("a tensor");
    QTensor::quantize(&tensor, GgmlDType::F32).expect("packing")
}

/// The order of tokens is that of the characters which byte-level BPE writes bytes as: printable ones first.
fn bytes_as_characters() -> impl Iterator<Item = char> {
    let others = (0u8..=255).filter(|byte| !is_printable(*byte)).count();
    let printable = (0u8..=255).filter(|byte| is_printable(*byte)).map(char::from);
    printable.chain(('\u{100}'..).take(others))
}

fn byte_of(token: usize) -> usize {
    let printable = (0u8..=255).filter(|byte| is_printable(*byte));
    let others = (0u8..=255).filter(|byte| !is_printable(*byte));
    printable.chain(others).nth(token).map_or(usize::MAX, usize::from)
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}
