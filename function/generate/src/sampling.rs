//! How to choose a token: numbers that were checked once, so that the sampler need not.

use crate::{Error, Result};

/// Sampling options as they are written down, unchecked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingOptions {
    /// Divides the logits; 0 chooses the likeliest token always.
    pub temperature: f32,
    /// Only so many of the likeliest tokens, and those as likely as the last of them; 0 is off.
    pub top_k: u32,
    /// Only the likeliest tokens that together have this probability; 1 is off.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 is off.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in the prompt and the answer; 1 is
    /// off.
    pub repetition_penalty: f32,
    /// Taken from the logit of each token that the answer has already; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logit of a token for each time that the answer has it; 0 is off.
    pub frequency_penalty: f32,
    /// The same seed gives the same tokens for the same logits.
    pub seed: u64,
}

impl Default for SamplingOptions {
    /// Greedy, with nothing switched on.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl SamplingOptions {
    /// Whether any penalty changes any logit.
    pub(crate) fn has_penalty(&self) -> bool {
        let penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty);
        penalties != (1.0, 0.0, 0.0)
    }
}

/// Sampling options of which every number is in its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    options: SamplingOptions,
}

impl Sampling {
    /// Checks every range. NaN is in none.
    pub fn new(options: SamplingOptions) -> Result<Self> {
        let o = &options;
        within("temperature", o.temperature, (0.0..=100.0).contains(&o.temperature), "0 to 100")?;
        within("top_p", o.top_p, o.top_p > 0.0 && o.top_p <= 1.0, "above 0, to 1")?;
        within("min_p", o.min_p, (0.0..=1.0).contains(&o.min_p), "0 to 1")?;
        let repetition = o.repetition_penalty;
        let allowed = (0.01..=100.0).contains(&repetition);
        within("repetition_penalty", repetition, allowed, "0.01 to 100")?;
        for (option, value) in
            [("presence_penalty", o.presence_penalty), ("frequency_penalty", o.frequency_penalty)]
        {
            within(option, value, (-2.0..=2.0).contains(&value), "-2 to 2")?;
        }
        Ok(Self { options })
    }

    /// The numbers.
    #[must_use]
    pub fn options(&self) -> &SamplingOptions {
        &self.options
    }

    /// Whether the likeliest token is chosen always, so that the seed does not matter.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.options.temperature == 0.0
    }
}

fn within(option: &'static str, value: f32, is_allowed: bool, allowed: &'static str) -> Result<()> {
    if is_allowed {
        return Ok(());
    }
    // By way of its digits, so that 1.1 is not shown as 1.10000002384.
    let value = value.to_string().parse().unwrap_or(f64::NAN);
    Err(Error::OptionRange { option, value, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(edit: impl FnOnce(&mut SamplingOptions)) -> String {
        let mut options = SamplingOptions::default();
        edit(&mut options);
        Sampling::new(options).unwrap_err().to_string()
    }

    #[test]
    fn a_value_out_of_range_is_named_with_the_range() {
        assert_eq!(
            refused(|o| o.temperature = -0.1),
            "`temperature` is `-0.1`, allowed is 0 to 100"
        );
        assert_eq!(refused(|o| o.top_p = 0.0), "`top_p` is `0`, allowed is above 0, to 1");
        assert_eq!(refused(|o| o.top_p = 1.1), "`top_p` is `1.1`, allowed is above 0, to 1");
        assert_eq!(refused(|o| o.min_p = 2.0), "`min_p` is `2`, allowed is 0 to 1");
        assert!(refused(|o| o.repetition_penalty = 0.0).contains("0.01 to 100"));
        assert!(refused(|o| o.presence_penalty = 2.5).contains("`presence_penalty` is `2.5`"));
        assert!(refused(|o| o.frequency_penalty = -3.0).contains("`frequency_penalty` is `-3`"));
    }

    #[test]
    fn not_a_number_is_in_no_range() {
        assert!(refused(|o| o.temperature = f32::NAN).contains("`NaN`"));
        assert!(refused(|o| o.top_p = f32::NAN).contains("top_p"));
        assert!(refused(|o| o.min_p = f32::NAN).contains("min_p"));
        assert!(refused(|o| o.repetition_penalty = f32::NAN).contains("repetition_penalty"));
        assert!(refused(|o| o.presence_penalty = f32::INFINITY).contains("`inf`"));
    }

    #[test]
    fn the_ends_of_the_ranges_are_allowed() {
        let options = SamplingOptions {
            temperature: 100.0,
            top_p: 1.0,
            min_p: 1.0,
            presence_penalty: -2.0,
            frequency_penalty: 2.0,
            ..SamplingOptions::default()
        };
        assert_eq!(Sampling::new(options).unwrap().options(), &options);
        assert!(Sampling::new(SamplingOptions::default()).unwrap().is_greedy());
    }
}
