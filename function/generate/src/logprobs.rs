//! How likely a token was.
//!
//! These are logarithms of the softmax of the logits *as the model gave them*: before bias,
//! penalties, temperature and truncation, so that they say what the model thinks and not how it was
//! asked to choose. That is what `OpenAI` gives, and vLLM where `--logprobs-mode` is `raw_logprobs`,
//! its default. A token that a bias forced onto the answer has therefore the probability that the
//! model gave it.

/// A token and how likely it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logprob {
    /// The token.
    pub id: u32,
    /// The natural logarithm of its probability; minus infinity where the model ruled it out.
    pub logprob: f32,
}

/// How likely one token of a text was, and what could have stood there.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The token that stands there.
    pub chosen: Logprob,
    /// The likeliest tokens, falling, of equals the one with the lower id first.
    pub top: Vec<Logprob>,
}

impl Logprobs {
    /// By the logits of the position before the token, with the `top` likeliest ones.
    ///
    /// # Panics
    /// If there is no logit for `chosen`.
    #[must_use]
    pub fn new(logits: &[f32], chosen: u32, top: u8) -> Self {
        let normalizer = log_sum_exp(logits);
        let logprob = |id: u32| {
            #[expect(clippy::cast_possible_truncation, reason = "the precision of the logits")]
            let logprob = (f64::from(logits[id as usize]) - normalizer) as f32;
            Logprob { id, logprob }
        };
        let top = likeliest(logits, usize::from(top)).into_iter().map(logprob).collect();
        Self { chosen: logprob(chosen), top }
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let maximum = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - maximum).exp()).sum();
    maximum + sum.ln()
}

/// The ids of the `count` largest logits, falling. `count` is small: each that is large enough is
/// put into its place among those before it.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
    for (id, &logit) in (0..).zip(logits) {
        let floor = best.last().filter(|_| best.len() == count);
        if count == 0 || floor.is_some_and(|&(floor, _)| logit <= floor) {
            continue;
        }
        best.insert(best.partition_point(|&(other, _)| other >= logit), (logit, id));
        best.truncate(count);
    }
    best.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_softmax_and_the_first_of_a_sort(
            logits in vec(-30.0f32..30.0, 1..200), chosen in 0usize..200, top in 0u8..25,
        ) {
            let chosen = u32::try_from(chosen % logits.len()).unwrap();
            let found = Logprobs::new(&logits, chosen, top);
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            let expected = |id: u32| f64::from(logits[id as usize]) - sum.ln();
            for Logprob { id, logprob } in found.top.iter().copied().chain([found.chosen]) {
                prop_assert!((f64::from(logprob) - expected(id)).abs() < 1e-4);
            }
            let mut sorted: Vec<u32> = (0..u32::try_from(logits.len()).unwrap()).collect();
            sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            sorted.truncate(usize::from(top));
            prop_assert_eq!(found.top.iter().map(|it| it.id).collect::<Vec<_>>(), sorted);
            prop_assert_eq!(found.chosen.id, chosen);
        }
    }

    #[test]
    fn a_token_that_is_ruled_out_has_no_probability_and_the_others_share_all_of_it() {
        let found = Logprobs::new(&[f32::NEG_INFINITY, 2.0, 2.0], 0, 5);
        assert!(found.chosen.logprob.is_infinite() && found.chosen.logprob < 0.0);
        assert_eq!(found.top.iter().map(|it| it.id).collect::<Vec<_>>(), [1, 2, 0]);
        assert!((found.top[0].logprob - 0.5f32.ln()).abs() < 1e-6);
    }
}
