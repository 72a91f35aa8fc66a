//! How a token is to be chosen where its logits are.

/// By temperature, then top-k, then top-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Where in the weights of the tokens that are left, added up by their ids, the drawn one lies: at least 0 and
    /// below 1.
    pub uniform: f64,
    /// Divides the logits; at 0 the likeliest token is taken, of equals the first, and nothing below matters.
    pub temperature: f32,
    /// Only so many of the likeliest tokens, and those as likely as the last of them; 0 is off.
    pub top_k: u32,
    /// Only the likeliest that together have this probability, of equals the first; 1 is off.
    pub top_p: f32,
}

impl Draw {
    /// Whether the likeliest token is taken.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }
}
