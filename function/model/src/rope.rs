//! The frequencies of the rotary embedding (Su et al., 2021, "`RoFormer`"), and how a longer
//! context scales them.
//!
//! Published models write `rope_theta` beside `rope_scaling`, whose kind is under `type` or
//! `rope_type`; transformers 5 writes one object, `rope_parameters`. Both give the same [`Rope`].

use std::fmt;

use crate::{Error, fields::Fields};

/// How fast each pair of columns of a head turns from one position to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base: pair `i` of `head_dim / 2` turns by `theta^(-2i / head_dim)` a position.
    pub theta: f32,
    /// What is done to these frequencies.
    pub scaling: Scaling,
}

/// How the frequencies are changed for a context that is longer than that of the pretraining.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scaling {
    /// Not at all.
    Default,
    /// All are divided: position interpolation (Chen et al., 2023).
    Linear {
        /// By this.
        factor: f32,
    },
    /// Llama 3.1: slow ones are divided, fast ones are kept, those between are blended.
    Llama3 {
        /// By this.
        factor: f32,
        /// Slow: fewer turns than this in the original context.
        low_freq_factor: f32,
        /// Fast: more turns than this in the original context.
        high_freq_factor: f32,
        /// The context of the pretraining.
        original_max_position_embeddings: f32,
    },
}

impl Rope {
    pub(crate) fn parse(config: &Fields) -> Result<Self, Error> {
        check_whole_head(config)?;
        let theta = config.optional_number("rope_theta", MIN_THETA)?;
        // transformers lets the older spelling win where both are there.
        let nested = match config.object("rope_scaling")? {
            Some(scaling) => Some(scaling),
            None => config.object("rope_parameters")?,
        };
        let Some(nested) = nested else {
            return Ok(Self { theta: theta.unwrap_or(DEFAULT_THETA), scaling: Scaling::Default });
        };
        check_whole_head(&nested)?;
        check_one_for_all_layers(&nested)?;
        let theta = nested.optional_number("rope_theta", MIN_THETA)?.or(theta);
        let scaling = Scaling::parse(&nested, config)?;
        Ok(Self { theta: theta.unwrap_or(DEFAULT_THETA), scaling })
    }

    /// `head_dim / 2` angles a position, in radians, computed in f32 as the reference
    /// implementations do.
    #[must_use]
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let exponents = (0..head_dim / 2).map(|pair| (2 * pair) as f32 / head_dim as f32);
        exponents.map(|exponent| self.scaling.apply(1.0 / self.theta.powf(exponent))).collect()
    }
}

impl Scaling {
    fn parse(nested: &Fields, config: &Fields) -> Result<Self, Error> {
        let field = if nested.mentions("rope_type") { "rope_type" } else { "type" };
        match nested.text(field)?.unwrap_or("default") {
            "default" => Ok(Self::Default),
            "linear" => Ok(Self::Linear { factor: nested.number("factor", 1.0)? }),
            "llama3" => Self::parse_llama3(nested, config),
            _ => Err(Error::RopeType { field: nested.path(field), found: nested.shown(field) }),
        }
    }

    fn parse_llama3(nested: &Fields, config: &Fields) -> Result<Self, Error> {
        let low_freq_factor = nested.number("low_freq_factor", f32::MIN_POSITIVE)?;
        let high_freq_factor = nested.number("high_freq_factor", f32::MIN_POSITIVE)?;
        if high_freq_factor <= low_freq_factor {
            return Err(nested.wrong("high_freq_factor", "more than `low_freq_factor`"));
        }
        let original = match nested.optional_number("original_max_position_embeddings", 1.0)? {
            Some(original) => original,
            None => config.number("max_position_embeddings", 1.0)?,
        };
        Ok(Self::Llama3 {
            factor: nested.number("factor", 1.0)?,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        })
    }

    fn apply(&self, frequency: f32) -> f32 {
        match *self {
            Self::Default => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: context,
            } => {
                let wavelength = 2.0 * std::f32::consts::PI / frequency;
                if wavelength > context / low {
                    frequency / factor
                } else if wavelength < context / high {
                    frequency
                } else {
                    let smooth = (context / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(out, "not scaled"),
            Self::Linear { factor } => write!(out, "linear scaling by {factor}"),
            Self::Llama3 { factor, .. } => write!(out, "llama3 scaling by {factor}"),
        }
    }
}

/// The device turns whole heads.
fn check_whole_head(fields: &Fields) -> Result<(), Error> {
    match fields.optional_number("partial_rotary_factor", 0.0)? {
        Some(part) if (part - 1.0).abs() > f32::EPSILON => {
            Err(fields.wrong("partial_rotary_factor", "1, or not there"))
        }
        _ => Ok(()),
    }
}

/// transformers 5 can write one object for each kind of layer.
fn check_one_for_all_layers(nested: &Fields) -> Result<(), Error> {
    for kind in ["full_attention", "sliding_attention"] {
        if nested.mentions(kind) {
            return Err(nested.wrong(kind, "one rope for all layers"));
        }
    }
    Ok(())
}

/// What all families have where config.json does not say.
const DEFAULT_THETA: f32 = 10_000.0;

/// Below it the frequencies would grow along the head.
const MIN_THETA: f32 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_3_2: Scaling = Scaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    };

    fn parse(config: &str) -> Result<Rope, Error> {
        Rope::parse(&Fields::parse(config.as_bytes())?)
    }

    #[test]
    fn both_spellings_are_one_rope() {
        let scaled = r#""factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192"#;
        let spellings = [
            format!(
                r#"{{"rope_theta": 5e5, "rope_scaling": {{"rope_type": "llama3", {scaled}}}}}"#
            ),
            format!(r#"{{"rope_theta": 5e5, "rope_scaling": {{"type": "llama3", {scaled}}}}}"#),
            format!(
                r#"{{"rope_parameters": {{"rope_type": "llama3", "rope_theta": 5e5, {scaled}}}}}"#
            ),
        ];
        for spelling in &spellings {
            let rope = Rope { theta: 500_000.0, scaling: LLAMA_3_2 };
            assert_eq!(parse(spelling).unwrap(), rope, "{spelling}");
        }
        let linear = Rope { theta: 1e6, scaling: Scaling::Linear { factor: 2.0 } };
        for spelling in [
            r#"{"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2}}"#,
            r#"{"rope_theta": 1e6, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}"#,
        ] {
            assert_eq!(parse(spelling).unwrap(), linear, "{spelling}");
        }
    }

    #[test]
    fn without_settings_it_is_the_plain_one() {
        let plain = Rope { theta: 10_000.0, scaling: Scaling::Default };
        for spelling in ["{}", r#"{"rope_scaling": null}"#, r#"{"rope_parameters": {}}"#] {
            assert_eq!(parse(spelling).unwrap(), plain, "{spelling}");
        }
    }

    #[test]
    fn frequencies_fall_from_one_by_a_constant_ratio() {
        let rope = Rope { theta: 16.0, scaling: Scaling::Default };
        assert_eq!(rope.inverse_frequencies(4), [1.0, 0.25]);
        let rope = Rope { theta: 16.0, scaling: Scaling::Linear { factor: 4.0 } };
        assert_eq!(rope.inverse_frequencies(4), [0.25, 0.0625]);
    }

    /// The bounds of a head of 64 in a context of 8192, by hand: fast below a wavelength of 2048,
    /// slow above 8192.
    #[test]
    fn llama3_keeps_fast_frequencies_divides_slow_ones_and_blends_between() {
        let plain = Rope { theta: 500_000.0, scaling: Scaling::Default }.inverse_frequencies(64);
        let scaled = Rope { theta: 500_000.0, scaling: LLAMA_3_2 }.inverse_frequencies(64);
        for (plain, scaled) in plain.into_iter().zip(scaled) {
            let wavelength = 2.0 * std::f32::consts::PI / plain;
            let ratio = plain / scaled;
            match wavelength {
                ..2048.0 => assert!((ratio - 1.0).abs() < 1e-6, "{wavelength}: {ratio}"),
                8192.0.. => assert!((ratio - 32.0).abs() < 1e-4, "{wavelength}: {ratio}"),
                _ => assert!(ratio > 1.0 && ratio < 32.0, "{wavelength}: {ratio}"),
            }
        }
    }
}
