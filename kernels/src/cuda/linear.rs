//! Products of rows with weights: `out (rows, outputs) = x (rows, inputs) weight^T + bias`.

use super::{Format, Launch, MOST_GRID_Y, WARP, of_format};

/// Rows up to which [`gemv`] and [`gemv_gated`] are meant: they read the weights again for every four.
pub const GEMV_ROWS: u32 = 8;

/// A product with a weight `(outputs, inputs)`, as the kernels take it: addresses on the device, each a multiple of 16.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// `(outputs, inputs)`
    pub weight: u64,
    /// `(outputs)`, in the format of the weight, or null.
    pub bias: u64,
    /// `(rows, outputs)`, f32.
    pub out: u64,
    /// 0 where there is no product.
    pub outputs: u32,
    /// What a structure of C has here as well.
    pub padding: u32,
}

/// Up to three products of the same x: `(f32* x, [Product; 3] products, u32 inputs, u32 rows, u32 adds)`. What is in
/// `out` is replaced, or added to where `adds` is 1. The format is that of all weights and biases.
#[must_use]
pub fn gemv(weight: Format, rows: u32, inputs: u32, outputs: &[u32]) -> Launch {
    let groups = outputs.iter().map(|outputs| outputs.div_ceil(GROUP)).sum();
    let kernel = match rows {
        1 => of_format!("gemv", weight),
        _ => of_format!("gemv_rows", weight),
    };
    grouped(kernel, rows, inputs, groups)
}

/// `out = silu(x gate^T + gate_bias) * (x up^T + up_bias)`: `(f32* x, Product gate, Product up, u32 inputs, u32 rows)`;
/// of `up`, only the weight and the bias are looked at.
#[must_use]
pub fn gemv_gated(weight: Format, rows: u32, inputs: u32, outputs: u32) -> Launch {
    let kernel = match rows {
        1 => of_format!("gemv_gated", weight),
        _ => of_format!("gemv_gated_rows", weight),
    };
    grouped(kernel, rows, inputs, outputs.div_ceil(GROUP / 2))
}

/// A warp or more for each group of rows of weights.
fn grouped(kernel: &'static str, rows: u32, inputs: u32, groups: u32) -> Launch {
    let parts = parts(inputs, groups);
    let groups_of_block = BLOCK_WARPS / parts;
    let grid_rows = rows.div_ceil(if rows == 1 { 1 } else { ROWS });
    assert!(grid_rows <= MOST_GRID_Y, "{rows} rows");
    Launch {
        kernel,
        grid: [groups.div_ceil(groups_of_block), grid_rows, 1],
        block: [WARP, parts, groups_of_block],
        shared_bytes: 0,
    }
}

/// Warps that share a group: as many as it takes to have [`WARPS_WANTED`], while each has two vectors a lane.
fn parts(inputs: u32, groups: u32) -> u32 {
    let mut parts = 1;
    while parts < BLOCK_WARPS
        && groups * parts < WARPS_WANTED
        && inputs >= 2 * parts * LEAST_COLUMNS
    {
        parts *= 2;
    }
    parts
}

/// `GEMV_OUTPUTS` of gemv.cu.
const GROUP: u32 = 4;

/// `GEMV_WARPS` of gemv.cu.
const BLOCK_WARPS: u32 = 8;

/// `GEMV_ROWS` of gemv.cu.
const ROWS: u32 = 4;

/// 32 on each of 128 processors: with 4 KiB each on their way, 128 KiB a processor, where 25 KiB cover the 700
/// nanoseconds that the fastest memory (4.8 TB/s) takes.
const WARPS_WANTED: u32 = 4096;

/// Columns of a warp: two vectors of eight for each lane, which are fetched together.
const LEAST_COLUMNS: u32 = 2 * 8 * WARP;
