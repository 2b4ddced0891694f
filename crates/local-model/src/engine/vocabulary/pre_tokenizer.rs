//! How text is cut into words before byte-level BPE, by the name that GGUF files have for it (`tokenizer.ggml.pre`).
//!
//! A file with other rules is refused: cut differently from what the model was trained on, numbers and punctuation become tokens that it
//! has seldom seen, and nothing but worse answers tells.

use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior,
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::VocabularyError;

pub(super) const KNOWN: &[&str] = &["smollm", "gpt-2", "llama-bpe", "qwen2"];

/// Parts of the published patterns of Llama 3 and Qwen 2, which differ in how many digits make a word.
const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LETTERS: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
const REST: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) fn of(rules: &str) -> Result<PreTokenizerWrapper, VocabularyError> {
    let bytes_only = ByteLevel::new(false, false, false);
    let words_as_gpt_2 = ByteLevel::new(false, true, true);
    let by_pattern = |digits: &str| {
        let pattern = [CONTRACTIONS, LETTERS, digits, REST].join("|");
        let split = Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false);
        let split = split.map_err(|error| VocabularyError::Unreadable(candle_core::Error::Msg(error.to_string())))?;
        Ok(Sequence::new(vec![split.into(), bytes_only.into()]).into())
    };
    match rules {
        "smollm" => Ok(Sequence::new(vec![Digits::new(true).into(), words_as_gpt_2.into()]).into()),
        "gpt-2" => Ok(words_as_gpt_2.into()),
        "llama-bpe" => by_pattern(r"\p{N}{1,3}"),
        "qwen2" => by_pattern(r"\p{N}"),
        other => Err(VocabularyError::Rules(other.chars().take(64).collect())),
    }
}
