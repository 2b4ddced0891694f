//! Which token comes next.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

/// How tokens are chosen; within what the API allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Only the likeliest tokens whose probabilities add up to this.
    pub top_p: f32,
    /// The same seed gives the same text; drawn if absent.
    pub seed: u64,
    /// So many tokens at the beginning are the likeliest ones, whatever the temperature. They decide the language and the kind of an answer,
    /// and weights packed to four bits leave them nearly undecided: drawn, they make every third answer one about something else, and
    /// "Hello" is answered with "Hello! I'shine" (docs/decisions/0039).
    pub steady_tokens: u32,
    /// Taken from a token's score once it has been used, and for each use.
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
}

pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    used: std::collections::HashMap<u32, u32>,
    chosen: u32,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Self {
        let random = ChaCha8Rng::seed_from_u64(sampling.seed);
        Self {
            sampling,
            random,
            used: std::collections::HashMap::new(),
            chosen: 0,
        }
    }

    /// `scores` holds one for each token. Of equal ones the first wins, so that the choice does not depend on the order of a sort.
    pub fn choose(&mut self, scores: &mut [f32]) -> u32 {
        for (token, uses) in &self.used {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score -= self.sampling.presence_penalty + *uses as f32 * self.sampling.frequency_penalty;
            }
        }
        let is_steady = self.chosen < self.sampling.steady_tokens;
        let token = if self.sampling.temperature > 0.0 && !is_steady {
            self.draw(scores)
        } else {
            likeliest(scores)
        };
        *self.used.entry(token).or_default() += 1;
        self.chosen = self.chosen.saturating_add(1);
        token
    }

    fn draw(&mut self, scores: &[f32]) -> u32 {
        let most = scores.get(likeliest(scores) as usize).copied().unwrap_or_default();
        let weight = |score: f32| ((score - most) / self.sampling.temperature).exp();
        // A token that is e^-16 as likely as the first is not drawn in practice, and leaves thousands out of the sort.
        let mut candidates: Vec<(u32, f32)> = (0u32..)
            .zip(scores)
            .map(|(token, score)| (token, weight(*score)))
            .filter(|(_, weight)| *weight > 1e-7)
            .collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f32 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let kept = candidates
            .iter()
            .position(|(_, weight)| {
                sum += weight;
                sum >= self.sampling.top_p * total
            })
            .map_or(candidates.len(), |last| last + 1);
        candidates.truncate(kept);
        let mut left = self.random.random::<f32>() * candidates.iter().map(|(_, weight)| weight).sum::<f32>();
        let drawn = candidates.iter().find(|(_, weight)| {
            left -= weight;
            left <= 0.0
        });
        drawn
            .or(candidates.last())
            .map_or_else(|| likeliest(scores), |(token, _)| *token)
    }
}

fn likeliest(scores: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, score) in (0u32..).zip(scores) {
        if *score > best.1 {
            best = (token, *score);
        }
    }
    best.0
}
