//! Logits to tokens.

use super::{Launch, plain};

/// What a token is drawn by, as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// At least 0 and below 1.
    pub uniform: f64,
    /// 0 is the likeliest token, of equals the first.
    pub temperature: f32,
    /// So many of the likeliest tokens, and those as likely as the last of them; 0 is all.
    pub top_k: u32,
    /// The likeliest that together have this part of the weight; 1 is all.
    pub top_p: f32,
    /// Of the logits.
    pub row: u32,
}

impl Draw {
    /// The words of a `Draw` of sampling.cu, at a multiple of 8 bytes.
    #[must_use]
    pub fn words(self) -> [u32; Self::WORDS] {
        let Self { uniform, temperature, top_k, top_p, row } = self;
        let uniform = uniform.to_bits();
        #[expect(clippy::cast_possible_truncation, reason = "each word takes its half")]
        let [low, high] = [uniform as u32, (uniform >> 32) as u32];
        [low, high, temperature.to_bits(), top_k, top_p.to_bits(), row]
    }

    /// How many words that are.
    pub const WORDS: usize = 6;
}

/// What the kernel answers where no token can be drawn: a logit is NaN or plus infinity, or all are
/// minus infinity.
pub const NO_TOKEN: u32 = u32::MAX;

/// A token of each draw: `(f32* logits, u32 columns, Draw* draws, u32* out)`.
#[must_use]
pub fn sample(draws: u32) -> Launch {
    plain("sample", [draws, 1], SAMPLING_THREADS)
}

/// `SAMPLING_THREADS` of sampling.cu.
const SAMPLING_THREADS: u32 = 1024;
