//! What a decoder keeps besides its weights, known before any of it is allocated.

use firstlight_device::KV_BLOCK;

use crate::{EncoderSpec, Spec};

/// The numbers that a [`Decoder`](crate::Decoder) keeps. How many bytes one takes is the device's
/// matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Positions that there is a cache for.
    pub positions: usize,
    /// Keys and values of all positions in all layers.
    pub cached: u64,
    /// Intermediate results.
    pub computed: u64,
    /// The matrices that those two are in.
    pub matrices: u64,
}

/// What a decoder is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Positions that there is a cache for.
    pub positions: usize,
    /// Rows of the longest pass.
    pub rows: usize,
    /// Rows that go through a layer together.
    pub chunk_rows: usize,
    /// Rows of a pass that may become logits.
    pub logits_rows: usize,
}

impl Footprint {
    /// Of a decoder that is made for `extent`.
    #[must_use]
    pub fn new(spec: &Spec, extent: Extent) -> Self {
        let Extent { positions, rows, chunk_rows, logits_rows } = extent;
        let rows = rows.max(1);
        let kept = positions.max(1).checked_next_multiple_of(KV_BLOCK).unwrap_or(usize::MAX);
        let chunk_rows = chunk_rows.min(kept);
        let chunks = rows.div_ceil(chunk_rows);
        let width = spec.hidden_size + 2 * (spec.query_size() + spec.kv_size());
        let chunk = product([chunk_rows, width + spec.intermediate_size]);
        let streams = product([chunks, chunk_rows, spec.hidden_size + spec.head_dim]);
        // Logits are where they are computed, and where tokens are chosen by them.
        let last = product([logits_rows, 2 * (spec.hidden_size + spec.vocab_size)]);
        let cache = [spec.layers, 2, spec.kv_size(), kept];
        Self {
            positions,
            cached: product(cache),
            computed: chunk.saturating_add(streams).saturating_add(last),
            matrices: (2 * spec.layers + 2 * chunks + SINGLE_MATRICES) as u64,
        }
    }
}

impl Footprint {
    /// Of an [`Encoder`](crate::Encoder) for passes of up to `rows` rows in `texts` texts.
    #[must_use]
    pub fn of_encoder(spec: &EncoderSpec, rows: usize, texts: usize) -> Self {
        let positions = (rows / KV_BLOCK + texts).saturating_mul(KV_BLOCK);
        Self {
            positions,
            cached: product([2, spec.hidden_size, positions]),
            computed: product([rows, 5 * spec.hidden_size + spec.intermediate_size]),
            matrices: ENCODER_MATRICES,
        }
    }
}

fn product(factors: impl IntoIterator<Item = usize>) -> u64 {
    factors.into_iter().fold(1, |product, factor| product.saturating_mul(factor as u64))
}

/// Five of a layer's intermediate results, its cache, and the rows themselves.
const ENCODER_MATRICES: u64 = 8;
/// Six of a layer's intermediate results, and three of the last row.
const SINGLE_MATRICES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec::parse(
            br#"{
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
                "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
                "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 131072, "rope_theta": 500000.0,
                "tie_word_embeddings": true, "hidden_act": "silu"
            }"#,
        )
        .unwrap()
    }

    fn extent(positions: usize, rows: usize) -> Extent {
        Extent { positions, rows, chunk_rows: 512, logits_rows: 1 }
    }

    #[test]
    fn a_model_of_a_known_shape_keeps_what_arithmetic_says() {
        let extent = Extent { logits_rows: 3, ..extent(4096, 1000) };
        let footprint = Footprint::new(&spec(), extent);
        // 16 layers, keys and values of 512 columns.
        assert_eq!(footprint.cached, 16 * 2 * 512 * 4096);
        // One chunk of a layer, the two chunks that 1000 rows are, and the last rows.
        let layer = 512 * (2048 + 2 * (2048 + 512) + 8192);
        let streams = 2 * 512 * (2048 + 64);
        assert_eq!(footprint.computed, layer + streams + 3 * 2 * (2048 + 128_256));
        assert_eq!(footprint.matrices, 2 * 16 + 2 * 2 + 9);
    }

    #[test]
    fn more_positions_never_take_less() {
        let spec = spec();
        let taken = |positions| {
            let footprint = Footprint::new(&spec, extent(positions, positions));
            footprint.cached + footprint.computed
        };
        let all: Vec<_> = [0, 1, 64, 65, 512, 513, 131_072].map(taken).into();
        assert!(all.is_sorted() && all[0] > 0, "{all:?}");
        assert_eq!(Footprint::new(&spec, extent(65, 1)).cached, 16 * 2 * 512 * 128);
        assert!(Footprint::new(&spec, extent(usize::MAX / 2, 1)).cached > 1 << 62);
    }
}
