//! What a user adds to the logits of some tokens, before anything else is done to them.

use crate::{Error, Result};

/// Tokens and what is added to their logits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bias {
    added: Vec<(u32, f32)>,
}

impl Bias {
    /// Checks that each token is one of the model's and each value is within `-100..=100`, which
    /// are `OpenAI`'s limits: -100 rules a token out in practice, 100 makes it the only one.
    pub fn new(added: Vec<(u32, f32)>, vocabulary_size: usize) -> Result<Self> {
        for &(id, value) in &added {
            if id as usize >= vocabulary_size {
                return Err(Error::BiasId { id, vocabulary_size });
            }
            if !(-LIMIT..=LIMIT).contains(&value) {
                let value = f64::from(value);
                return Err(Error::OptionRange {
                    option: "logit_bias",
                    value,
                    allowed: "-100 to 100",
                });
            }
        }
        Ok(Self { added })
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
    }

    /// Adds to the logits.
    ///
    /// # Panics
    /// If there are fewer logits than the vocabulary has tokens.
    pub fn apply(&self, logits: &mut [f32]) {
        for &(id, value) in &self.added {
            logits[id as usize] += value;
        }
    }
}

const LIMIT: f32 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_added_to_the_logits_of_its_tokens() {
        let mut logits = [0.5; 3];
        Bias::new(vec![(2, 1.5), (0, -100.0)], 3).unwrap().apply(&mut logits);
        assert!(logits.iter().zip([-99.5f32, 0.5, 2.0]).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert!(Bias::default().is_empty());
    }

    #[test]
    fn tokens_and_values_that_do_not_exist_are_refused_with_their_numbers() {
        let refused = |id, value| Bias::new(vec![(id, value)], 3).unwrap_err().to_string();
        assert_eq!(refused(3, 1.0), "`logit_bias` names token 3, the vocabulary ends before 3");
        assert_eq!(refused(0, 100.5), "`logit_bias` is `100.5`, allowed is -100 to 100");
        assert!(refused(0, f32::NAN).contains("`NaN`"));
    }
}
