//! What an upstream says that a call consumed. Servers agree on the names of two counts, and not on what is in them.

use serde_json::Value;

use super::skim::Skim;
use domain::tokens::TokenUsage;

/// The upstream's own counts, as they are charged. What was not reported is 0, and so is what some servers report who do not count:
/// neither is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportedUsage {
    pub input: u64,
    /// With the tokens of reasoning.
    pub output: u64,
    /// Of the input.
    pub cached_input: u64,
}

impl From<ReportedUsage> for TokenUsage {
    fn from(reported: ReportedUsage) -> Self {
        let ReportedUsage {
            input,
            output,
            cached_input,
        } = reported;
        Self {
            input,
            output,
            cached_input,
            estimated: false,
        }
    }
}

/// No call has more tokens: what is larger is no count, and would charge an organisation for what nobody can have used.
const MAX_COUNT: u64 = 1_000_000_000;

/// As it is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    reasoning: Option<u64>,
    /// OpenAI's count, DeepSeek's, and Moonshot's.
    cached: [Option<u64>; 3],
}

impl Counts {
    /// `None` if nothing is counted.
    pub(super) fn reported(self) -> Option<ReportedUsage> {
        let Self {
            prompt,
            completion,
            total,
            reasoning,
            cached,
        } = self;
        let [prompt, completion, total, reasoning] =
            [prompt, completion, total, reasoning].map(|count| count.filter(|count| *count <= MAX_COUNT));
        if prompt.is_none() && completion.is_none() && total.is_none() {
            return None;
        }
        // Servers of embeddings that only give a total.
        let alone = total.filter(|_| completion.is_none()).unwrap_or(0);
        let input = prompt.unwrap_or(alone);
        let said = completion.unwrap_or(0);
        // xAI and others count reasoning in the total only (vercel/ai #12425, BerriAI/litellm #10567).
        let on_top = total
            .filter(|_| completion.is_some() && prompt.is_some())
            .map_or(0, |total| total.saturating_sub(input));
        // More reasoning than there is output cannot be a part of it.
        let apart = reasoning
            .filter(|reasoning| *reasoning > said)
            .map_or(0, |reasoning| said.saturating_add(reasoning));
        let on_top = if on_top > said { on_top } else { apart };
        let cached = cached.into_iter().flatten().next().unwrap_or(0);
        Some(ReportedUsage {
            input,
            output: said.max(on_top),
            cached_input: cached.min(input),
        })
    }

    /// Before the value of a `usage` field.
    pub(super) fn skim(skim: &mut Skim<'_>) -> Option<Self> {
        let mut counts = Self::default();
        skim.object_or_null(|skim, key| {
            let count = match key {
                b"prompt_tokens" => &mut counts.prompt,
                b"completion_tokens" => &mut counts.completion,
                b"total_tokens" => &mut counts.total,
                b"prompt_tokens_details" => return within(skim, b"cached_tokens", &mut counts.cached[0]),
                b"completion_tokens_details" => return within(skim, b"reasoning_tokens", &mut counts.reasoning),
                b"prompt_cache_hit_tokens" => &mut counts.cached[1],
                b"cached_tokens" => &mut counts.cached[2],
                _ => return skim.skip(),
            };
            optional(skim, count)
        })?;
        Some(counts)
    }

    pub(super) fn parsed(usage: &Value) -> Self {
        Self {
            prompt: count(&usage["prompt_tokens"]),
            completion: count(&usage["completion_tokens"]),
            total: count(&usage["total_tokens"]),
            reasoning: count(&usage["completion_tokens_details"]["reasoning_tokens"]),
            cached: [
                count(&usage["prompt_tokens_details"]["cached_tokens"]),
                count(&usage["prompt_cache_hit_tokens"]),
                count(&usage["cached_tokens"]),
            ],
        }
    }
}

fn within(skim: &mut Skim<'_>, wanted: &[u8], found: &mut Option<u64>) -> Option<()> {
    *found = None;
    skim.object_or_null(|skim, key| {
        if key != wanted {
            return skim.skip();
        }
        optional(skim, found)
    })
}

/// A count, or `null` for none.
fn optional(skim: &mut Skim<'_>, count: &mut Option<u64>) -> Option<()> {
    *count = if skim.null() { None } else { Some(skim.unsigned()?) };
    Some(())
}

/// Servers in languages without integers write `12.0`, and some write text.
fn count(value: &Value) -> Option<u64> {
    let plain = |text: &str| text.strip_suffix(".0").unwrap_or(text).parse().ok();
    match value {
        Value::Number(number) => number.as_u64().or_else(|| plain(&number.to_string())),
        Value::String(text) => plain(text.trim()),
        _ => None,
    }
}
