//! The model's tokens: text into tokens, tokens into bytes.
//!
//! A text never becomes a control token, whatever it spells: only the prompt's own frame has those (see `prompt`).

mod pre_tokenizer;

use std::collections::{HashMap, HashSet};

use candle_core::quantized::{
    gguf_file::{Content, Value},
    tokenizer::TokenizerFromGguf,
};
use tokenizers::Tokenizer;

/// Why a file's vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    #[error("its metadata has no usable {0:?}")]
    Missing(&'static str),
    #[error("its tokenizer is of the kind {0:?}; supported is gpt2, byte-level BPE")]
    Kind(String),
    #[error("it splits text by the rules {0:?}; supported are {supported}", supported = pre_tokenizer::KNOWN.join(", "))]
    Rules(String),
    #[error("its tokenizer cannot be read")]
    Unreadable(#[source] candle_core::Error),
}

/// A text could not be split into tokens.
#[derive(Debug, thiserror::Error)]
#[error("the text cannot be split into tokens")]
pub struct EncodeError(#[source] tokenizers::Error);

pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// The bytes that each token stands for; none for control tokens.
    bytes: Vec<Box<[u8]>>,
    control: HashMap<Box<str>, u32>,
    control_ids: HashSet<u32>,
    /// Begins a prompt, where the file asks for it.
    pub bos: Option<u32>,
    pub bos_text: String,
    pub eos_text: String,
}

/// Text is split into pieces of about so many bytes first: what tokenizers do with a text without a space grows faster than its length.
const PIECE_BYTES: usize = 4096;

/// In files: a token that controls the model, and one that a model's makers have added.
const CONTROL: i64 = 3;

impl Vocabulary {
    pub fn read(content: &Content) -> Result<Self, VocabularyError> {
        let key = "tokenizer.ggml.model";
        match content.metadata.get(key) {
            Some(Value::String(kind)) if kind == "gpt2" => {}
            Some(Value::String(kind)) => return Err(VocabularyError::Kind(kind.chars().take(64).collect())),
            _ => return Err(VocabularyError::Missing(key)),
        }
        let key = "tokenizer.ggml.pre";
        let Some(Value::String(rules)) = content.metadata.get(key) else {
            return Err(VocabularyError::Missing(key));
        };
        let mut tokenizer = Tokenizer::from_gguf(content).map_err(VocabularyError::Unreadable)?;
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer::of(rules)?));
        tokenizer.set_encode_special_tokens(true);
        let tokens = texts(content, "tokenizer.ggml.tokens")?;
        let kinds = numbers(content, "tokenizer.ggml.token_type")?;
        let control: HashMap<Box<str>, u32> = (0u32..)
            .zip(tokens.iter().zip(&kinds))
            .filter(|(_, (text, kind))| **kind == CONTROL && !text.is_empty())
            .map(|(id, (text, _))| (text.as_str().into(), id))
            .collect();
        let control_ids: HashSet<u32> = control.values().copied().collect();
        let of_character = bytes_of_characters();
        let bytes = (0u32..)
            .zip(&tokens)
            .map(|(id, text)| {
                if control_ids.contains(&id) {
                    Box::default()
                } else {
                    token_bytes(text, &of_character)
                }
            })
            .collect();
        let id = |key: &str| content.metadata.get(key).and_then(|value| value.to_u32().ok());
        let text_of = |id: Option<u32>| id.and_then(|id| tokens.get(id as usize)).cloned().unwrap_or_default();
        let bos = id("tokenizer.ggml.bos_token_id");
        let adds_bos = matches!(
            content.metadata.get("tokenizer.ggml.add_bos_token"),
            Some(Value::Bool(true))
        );
        Ok(Self {
            bos_text: text_of(bos),
            eos_text: text_of(id("tokenizer.ggml.eos_token_id")),
            bos: bos.filter(|_| adds_bos),
            tokenizer,
            bytes,
            control,
            control_ids,
        })
    }

    /// How many tokens there are.
    pub fn count(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that a token stands for, at most; no fewer than 32, so that what is a little too long is still counted.
    pub fn longest_token(&self) -> usize {
        self.bytes.iter().map(|bytes| bytes.len()).max().unwrap_or(0).max(32)
    }

    /// The texts of control tokens.
    pub fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.control.keys().map(|text| &**text)
    }

    /// The control token that `text` begins with, the longest if several do, and its length.
    pub fn control_at(&self, text: &str) -> Option<(u32, usize)> {
        let fitting = self.control.iter().filter(|(control, _)| text.starts_with(&***control));
        fitting
            .map(|(control, id)| (*id, control.len()))
            .max_by_key(|(_, length)| *length)
    }

    /// Whether the model ends its answer with this token: a model that begins a frame of its own is done as well.
    pub fn is_control(&self, token: u32) -> bool {
        self.control_ids.contains(&token)
    }

    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// Appends the tokens of `text`. It stops soon after `max` tokens in all.
    pub fn encode(&self, text: &str, max: usize, tokens: &mut Vec<u32>) -> Result<(), EncodeError> {
        for piece in pieces(text) {
            if tokens.len() > max {
                break;
            }
            let encoded = self.tokenizer.encode_fast(piece, false).map_err(EncodeError)?;
            tokens.extend_from_slice(encoded.get_ids());
        }
        Ok(())
    }
}

/// Splits a long text where a word begins, which no token crosses, or, if a piece has no such place, at any character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(piece_end(rest));
        rest = after;
        Some(piece)
    })
}

fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let limit = text.floor_char_boundary(PIECE_BYTES);
    let bytes = text.as_bytes();
    let begins_word = |&at: &usize| bytes[at] == b' ' && bytes[at - 1].is_ascii_alphanumeric();
    (1..limit).rev().find(begins_word).unwrap_or(limit)
}

fn texts(content: &Content, key: &'static str) -> Result<Vec<String>, VocabularyError> {
    let Some(Value::Array(values)) = content.metadata.get(key) else {
        return Err(VocabularyError::Missing(key));
    };
    let texts = values.iter().map(|value| value.to_string().cloned());
    texts
        .collect::<Result<_, _>>()
        .map_err(|_| VocabularyError::Missing(key))
}

fn numbers(content: &Content, key: &'static str) -> Result<Vec<i64>, VocabularyError> {
    let Some(Value::Array(values)) = content.metadata.get(key) else {
        return Err(VocabularyError::Missing(key));
    };
    let numbers = values.iter().map(|value| match *value {
        Value::I32(value) => Some(value.into()),
        Value::U32(value) => Some(value.into()),
        Value::I64(value) => Some(value),
        _ => None,
    });
    numbers.collect::<Option<_>>().ok_or(VocabularyError::Missing(key))
}

/// Byte-level BPE writes every byte as one printable character: those of Latin-1 that are printable as themselves, the others from U+0100
/// on, in their order.
fn bytes_of_characters() -> HashMap<char, u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0u8..=255).filter(|byte| !is_printable(*byte));
    let themselves = (0u8..=255)
        .filter(|byte| is_printable(*byte))
        .map(|byte| (char::from(byte), byte));
    themselves.chain(('\u{100}'..).zip(others)).collect()
}

/// A character outside that alphabet is part of a token that was added as text.
fn token_bytes(text: &str, of_character: &HashMap<char, u8>) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match of_character.get(&character) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.into()
}
