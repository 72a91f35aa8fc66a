//! Grouped-query attention over a cache `(blocks, kv_heads, KV_BLOCK, head_dim)` of keys and
//! one of values.

use super::{Format, Launch, MOST_GRID_Y, WARP, of_format};

/// What the kernels know of the heads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Heads that ask: a multiple of those with keys.
    pub heads: u32,
    /// Heads that have keys and values.
    pub kv_heads: u32,
    /// Columns of a head: a multiple of 8, at most [`MOST_HEAD_DIM`].
    pub head_dim: u32,
    /// A position sees itself and the `window - 1` before it; 0 is all. [`SEES_ALL`]: every position
    /// of its sequence in this pass.
    pub window: u32,
    /// What scores are multiplied with.
    pub scale: f32,
}

impl AttentionShape {
    fn checked(self) -> Self {
        let Self { heads, kv_heads, head_dim, .. } = self;
        assert!(heads.is_multiple_of(kv_heads), "attention of {heads} heads on {kv_heads}");
        assert!(
            head_dim.is_multiple_of(VECTOR) && (VECTOR..=MOST_HEAD_DIM).contains(&head_dim),
            "attention with heads of {head_dim} columns"
        );
        self
    }
}

/// As a window: what follows is seen, too.
pub const SEES_ALL: u32 = u32::MAX;

/// Columns of a head: one vector of eight for each lane of a warp.
pub const MOST_HEAD_DIM: u32 = 256;

/// Attention of few rows of each sequence, or of any number in f32: `(f32* queries, T* keys, T*
/// values, Place* places, u32* tables, f32* partial, f32* out, T* rounded or null, AttentionShape)`.
/// There are `rows` places, of one row each; the rows are in the cache already.
///
/// With one part the results are in `out` and `rounded`; with more, [`combine`] makes `out` of
/// `partial`, `(rows, heads, parts, head_dim + 2)` numbers.
#[must_use]
pub fn decode(cache: Format, shape: AttentionShape, rows: u32, parts: u32) -> Launch {
    let kernel = of_format!("attention_decode", cache);
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape.checked();
    let teams = THREADS / (head_dim / VECTOR).next_power_of_two();
    let blocks = kv_heads * (heads / kv_heads).div_ceil(HEADS);
    assert!(
        blocks <= MOST_GRID_Y && parts <= MOST_GRID_Y,
        "{kernel}: {heads} heads, {parts} parts"
    );
    Launch {
        kernel,
        grid: [rows, blocks, parts],
        block: [THREADS, 1, 1],
        shared_bytes: HEADS * teams * (head_dim + 2) * 4,
    }
}

/// Attention of many rows on the matrix units, for caches of 16 bits: `(f32* queries, T* keys, T*
/// values, Place* tiles, u32* tables, f32* out, T* rounded or null, AttentionShape)`. A tile is a
/// place of up to [`TILE_ROWS`] rows. Queries are rounded to the format of the cache.
#[must_use]
pub fn prefill(cache: Format, shape: AttentionShape, tiles: u32) -> Launch {
    let AttentionShape { heads, head_dim, .. } = shape.checked();
    let (dim, step, f16, bf16) = match head_dim {
        ..=64 => (64, 64, "attention_prefill_64_f16", "attention_prefill_64_bf16"),
        65..=128 => (128, 64, "attention_prefill_128_f16", "attention_prefill_128_bf16"),
        _ => (256, 32, "attention_prefill_256_f16", "attention_prefill_256_bf16"),
    };
    let kernel = match cache {
        Format::F32 => panic!("f32 is not multiplied on the matrix units"),
        Format::F16 => f16,
        Format::Bf16 => bf16,
    };
    assert!(heads <= MOST_GRID_Y, "{kernel}: {heads} heads");
    Launch {
        kernel,
        grid: [tiles, heads, 1],
        block: [THREADS, 1, 1],
        // Keys and values, each row with a vector more than it has.
        shared_bytes: 2 * step * (dim + VECTOR) * 2,
    }
}

/// Rows of a tile: `PREFILL_ROWS` of `attention_prefill.cu`.
pub const TILE_ROWS: u32 = 64;

/// Rows of a sequence from which on [`prefill`] pays: below, most of its matrices would be empty, and each of its
/// blocks walks all positions.
pub const PREFILL_LEAST_ROWS: u32 = 9;

/// Parts of the positions that pay for `rows` rows, which see `positions` at most. They change as
/// rarely as the next power of two does: until then a recorded step can be run again.
#[must_use]
pub fn parts(shape: AttentionShape, rows: u32, positions: u32) -> u32 {
    let blocks = rows * shape.kv_heads * (shape.heads / shape.kv_heads).div_ceil(HEADS);
    let positions = positions.checked_next_power_of_two().unwrap_or(u32::MAX);
    let seen = if shape.window == 0 { positions } else { positions.min(shape.window) };
    BLOCKS_WANTED.div_ceil(blocks.max(1)).min(seen.div_ceil(LEAST_POSITIONS)).clamp(1, MOST_PARTS)
}

/// Puts the parts of [`decode`] together: `(f32* partial, Place* places, f32* out, u32 parts, u32
/// heads, u32 head_dim)`.
#[must_use]
pub fn combine(shape: AttentionShape, rows: u32) -> Launch {
    let columns = shape.head_dim.next_multiple_of(WARP);
    Launch {
        kernel: "attention_combine",
        grid: [rows * shape.heads, 1, 1],
        block: [columns, 1, 1],
        shared_bytes: 0,
    }
}

/// `VECTOR` of prelude.cuh.
const VECTOR: u32 = 8;

/// `DECODE_HEADS` of `attention_decode.cu`.
const HEADS: u32 = 4;

/// `DECODE_THREADS` of `attention_decode.cu`, `PREFILL_THREADS` of `attention_prefill.cu`.
const THREADS: u32 = 128;

/// Two on each of 128 processors; a processor has the registers for four.
const BLOCKS_WANTED: u32 = 256;

/// Positions of a part: two turns of the eight teams of a block that has heads of 128 columns.
const LEAST_POSITIONS: u32 = 64;

/// Parts that one thread adds up, one after the other, in a few microseconds.
const MOST_PARTS: u32 = 64;
