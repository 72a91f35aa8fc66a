//! Logits to one token.
//!
//! In this order, which is that of transformers (and of vLLM but for min-p):
//!
//! 1. penalties: repetition over prompt and answer, frequency and presence over the answer alone
//! 2. temperature; at 0 the likeliest token is the answer, of equals the one with the lowest id
//! 3. top-k, ties with the last one included
//! 4. top-p of what is left, scaled to 1: tokens by falling probability while those before them
//!    have less than top-p
//! 5. min-p: tokens at least so many times as likely as the likeliest
//! 6. a draw from what is left, in the order of the ids
//!
//! Where nothing but temperature, top-k and top-p is asked for, the device may [draw](Sampler::draw),
//! by the same random number: the token is the same, but where the weights of two are so near that
//! 32-bit floats cannot tell which one the number falls on.
//!
//! A vocabulary has up to 260,000 tokens, so nothing sorts all of them: top-k passes over them
//! once, top-p sorts only as many of the likeliest as it needs.
//!
//! Probabilities and their sums are 64-bit floats: on two machines whose `exp` differs in its last
//! bit a draw differs once in some 10^15 tokens.

use std::cmp::Ordering;
use std::collections::HashMap;

use firstlight_model::Draw;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

use crate::{Error, Result, Sampling, SamplingOptions};

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: Pcg64Mcg,
    /// Drawn for the next token already: in 0..1.
    uniform: Option<f64>,
    /// How often the answer has each token that the prompt or the answer has.
    counts: HashMap<u32, u32>,
    /// The logits with penalties. Kept between tokens for its memory, as are the candidates.
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// A token that may be drawn, and its probability relative to the likeliest, which has 1.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    weight: f64,
}

impl Sampler {
    /// The sampler of an answer to `prompt_ids`.
    #[must_use]
    pub fn new(sampling: Sampling, prompt_ids: &[u32]) -> Self {
        Self {
            sampling,
            random: Pcg64Mcg::seed_from_u64(sampling.options().seed),
            uniform: None,
            counts: prompt_ids.iter().map(|&id| (id, 0)).collect(),
            logits: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Chooses the next token by the model's logits, one for each token of the vocabulary, and
    /// remembers it for the penalties. A logit that is NaN or plus infinity is an error; minus
    /// infinity rules a token out.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        check(logits)?;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.penalise();
        let (likeliest, maximum) = likeliest(&self.logits);
        let id = if self.sampling.is_greedy() {
            likeliest
        } else {
            self.weigh(maximum);
            self.keep_top_p();
            self.keep_min_p();
            self.pick()
        };
        self.accept(id);
        Ok(id)
    }

    /// How a device may choose the next token, by the model's logits as they are. `None` where it
    /// takes more: penalties, or min-p.
    ///
    /// The choice is the device's to make or to leave: either [`accept`](Sampler::accept) or
    /// [`sample`](Sampler::sample) comes next, and both by the same random number.
    pub fn draw(&mut self) -> Option<Draw> {
        let SamplingOptions { temperature, top_k, top_p, min_p, .. } = *self.sampling.options();
        let is_greedy = self.sampling.is_greedy();
        if self.sampling.options().has_penalty() || (min_p > 0.0 && !is_greedy) {
            return None;
        }
        let uniform = if is_greedy { 0.0 } else { self.uniform() };
        Some(Draw { uniform, temperature, top_k, top_p })
    }

    /// Remembers the next token, which the device has drawn.
    pub fn accept(&mut self, id: u32) {
        self.uniform = None;
        *self.counts.entry(id).or_insert(0) += 1;
    }

    /// The random number of the next token.
    fn uniform(&mut self) -> f64 {
        let random = &mut self.random;
        let draw = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        *self.uniform.get_or_insert_with(draw)
    }

    fn penalise(&mut self) {
        let options = self.sampling.options();
        if !options.has_penalty() {
            return;
        }
        for (&id, &count) in &self.counts {
            match self.logits.get_mut(id as usize) {
                Some(logit) if logit.is_finite() => *logit = penalised(*logit, count, options),
                _ => {} // ruled out already, or not in the vocabulary
            }
        }
    }

    /// Makes candidates of the top-k tokens, in the order of their ids.
    fn weigh(&mut self, maximum: f32) {
        let options = self.sampling.options();
        let floor = match options.top_k {
            0 => f32::NEG_INFINITY,
            k => kth_largest(&self.logits, k as usize),
        };
        let (maximum, temperature) = (f64::from(maximum), f64::from(options.temperature));
        let above_floor = (0..).zip(&self.logits).filter(|&(_, &logit)| logit >= floor);
        let weighed = above_floor.map(|(id, &logit)| {
            let weight = ((f64::from(logit) - maximum) / temperature).exp();
            Candidate { id, weight }
        });
        self.candidates.clear();
        self.candidates.extend(weighed.filter(|candidate| candidate.weight > 0.0));
    }

    /// Sorts ever more of the likeliest candidates until they have the wanted mass.
    fn keep_top_p(&mut self) {
        let top_p = f64::from(self.sampling.options().top_p);
        if top_p >= 1.0 {
            return;
        }
        let wanted = top_p * mass(&self.candidates);
        let mut count = FIRST_SORTED.min(self.candidates.len());
        while count < self.candidates.len() {
            self.candidates.select_nth_unstable_by(count - 1, likelier_first);
            if mass(&self.candidates[..count]) >= wanted {
                break;
            }
            count = (count * 8).min(self.candidates.len());
        }
        self.candidates.truncate(count);
        self.candidates.sort_unstable_by(likelier_first);
        let mut before = 0.0;
        self.candidates.retain(|candidate| {
            let is_kept = before < wanted;
            before += candidate.weight;
            is_kept
        });
        self.candidates.sort_unstable_by_key(|candidate| candidate.id);
    }

    fn keep_min_p(&mut self) {
        let min_p = f64::from(self.sampling.options().min_p);
        self.candidates.retain(|candidate| candidate.weight >= min_p);
    }

    fn pick(&mut self) -> u32 {
        let mut left = self.uniform() * mass(&self.candidates);
        let drawn = self.candidates.iter().find(|candidate| {
            left -= candidate.weight;
            left < 0.0
        });
        // Rounding may leave a rest after the last one.
        let drawn = drawn.or(self.candidates.last());
        drawn.expect("the likeliest token has weight 1 and passes every rule").id
    }
}

/// Refuses what cannot be chosen from. Damaged weights show here first.
fn check(logits: &[f32]) -> Result<()> {
    let is_bad = |logit: f32| logit.is_nan() || logit == f32::INFINITY;
    let count = logits.iter().filter(|&&logit| is_bad(logit)).count();
    if let Some((first_id, _)) = (0..).zip(logits).find(|&(_, &logit)| count > 0 && is_bad(logit)) {
        return Err(Error::BadLogits { count, total: logits.len(), first_id });
    }
    if logits.iter().all(|&logit| logit == f32::NEG_INFINITY) {
        return Err(Error::NoFiniteLogit { total: logits.len() });
    }
    Ok(())
}

/// A finite logit after the penalties, finite still.
fn penalised(logit: f32, count: u32, options: &SamplingOptions) -> f32 {
    let weakened = if logit > 0.0 {
        logit / options.repetition_penalty
    } else {
        logit * options.repetition_penalty
    };
    let presence = if count > 0 { options.presence_penalty } else { 0.0 };
    let frequency = options.frequency_penalty * count as f32;
    (weakened - frequency - presence).clamp(f32::MIN, f32::MAX)
}

/// The token with the highest logit, of equals the first, and that logit.
fn likeliest(logits: &[f32]) -> (u32, f32) {
    (0..).zip(logits).fold(
        (0, f32::NEG_INFINITY),
        |best, (id, &logit)| {
            if logit > best.1 { (id, logit) } else { best }
        },
    )
}

/// The `k`-th largest logit, or minus infinity where there are fewer. One pass with a buffer of `2
/// k`: most logits lie below its floor and cost one comparison.
fn kth_largest(logits: &[f32], k: usize) -> f32 {
    let mut floor = f32::NEG_INFINITY;
    if k >= logits.len() {
        return floor;
    }
    let mut largest = Vec::with_capacity(2 * k);
    let higher_first = |a: &f32, b: &f32| b.total_cmp(a);
    for &logit in logits.iter().filter(|&&logit| logit > f32::NEG_INFINITY) {
        if logit > floor {
            largest.push(logit);
        }
        if largest.len() == 2 * k {
            floor = *largest.select_nth_unstable_by(k - 1, higher_first).1;
            largest.truncate(k);
        }
    }
    if largest.len() < k {
        return floor;
    }
    *largest.select_nth_unstable_by(k - 1, higher_first).1
}

fn mass(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

fn likelier_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

/// At top-p 0.95 most tokens of a text are drawn from fewer.
const FIRST_SORTED: usize = 64;

#[cfg(test)]
mod tests;
