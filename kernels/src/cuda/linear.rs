//! Products of rows with weights: `out (rows, outputs) = x (rows, inputs) weight^T + bias`.
//!
//! Up to [`GEMV_ROWS`] rows are a [`gemv`], more a [`gemm`], or a [`gemm_plain`] for what that does
//! not take.

use crate::Gelu;

use super::{Format, Launch, MOST_GRID_Y, WARP, of_format};

/// What becomes of a product, as [`gemv`], [`gemm`] and [`gemm_plain`] take it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It replaces what is in `out`.
    Set = 0,
    /// It is added to it.
    Add = 1,
    /// It is multiplied with the silu of it: after the product with the gate, that with the other
    /// half of a `SwiGLU`.
    Gate = 2,
    /// The [gelu](crate::Gelu::Exact) of it replaces what is in `out`.
    Gelu = 3,
    /// The [gelu by a tanh](crate::Gelu::Tanh) of it does.
    GeluTanh = 4,
}

impl From<Gelu> for Then {
    fn from(form: Gelu) -> Self {
        match form {
            Gelu::Exact => Self::Gelu,
            Gelu::Tanh => Self::GeluTanh,
        }
    }
}

/// Rows up to which [`gemv`] and [`gemv_gated`] are meant: they read the weights again for every
/// four, and a [`gemm`] reads them once.
pub const GEMV_ROWS: u32 = 8;

/// A product with a weight `(outputs, inputs)`, as the kernels take it: addresses on the device,
/// each a multiple of 16.
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

/// Up to three products of the same x: `(f32* x, [Product; 3] products, u32 inputs, u32 rows, Then)`. The
/// format is that of all weights and biases.
#[must_use]
pub fn gemv(weight: Format, rows: u32, inputs: u32, outputs: &[u32]) -> Launch {
    let groups = outputs.iter().map(|outputs| outputs.div_ceil(GROUP)).sum();
    let kernel = match rows {
        1 => of_format!("gemv", weight),
        _ => of_format!("gemv_rows", weight),
    };
    grouped(kernel, rows, inputs, groups)
}

/// `out = silu(x gate^T + gate_bias) * (x up^T + up_bias)`: `(f32* x, Product gate, Product up, u32
/// inputs, u32 rows)`; of `up`, only the weight and the bias are looked at.
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

/// Warps that share a group: as many as it takes to have [`WARPS_WANTED`], while each has two
/// vectors a lane.
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

/// Whether [`gemm`] can be used, whose x is rounded to the format of the weight; otherwise
/// [`gemm_plain`] has to be.
#[must_use]
pub fn takes_rounded(weight: Format, inputs: u32) -> bool {
    weight != Format::F32 && inputs.is_multiple_of(8)
}

/// A product of many rows on the matrix units: `(T* x, T* weight, T* bias or null, f32* out, T*
/// rounded or null, u32 rows, u32 outputs, u32 inputs, Then)`. Only where it [`takes_rounded`];
/// `rounded` gets the numbers of `out` as well.
#[must_use]
pub fn gemm(weight: Format, rows: u32, outputs: u32) -> Launch {
    let tile =
        TILES.iter().find(|tile| tile.pays(rows, outputs)).unwrap_or(&TILES[TILES.len() - 1]);
    let kernel = match weight {
        Format::F32 => panic!("f32 is not multiplied on the matrix units"),
        Format::F16 => tile.kernels[0],
        Format::Bf16 => tile.kernels[1],
    };
    let stage_bytes = (tile.rows + tile.outputs) * tile.step * 2;
    tiled(kernel, [rows.div_ceil(tile.rows), outputs.div_ceil(tile.outputs)], GEMM_THREADS)
        .with_shared(stage_bytes * tile.stages)
}

/// A product of many rows of f32: `(f32* x, T* weight, T* bias or null, f32* out, u32 rows, u32
/// outputs, u32 inputs, Then)`.
#[must_use]
pub fn gemm_plain(weight: Format, rows: u32, outputs: u32) -> Launch {
    let grid = [rows.div_ceil(PLAIN_TILE), outputs.div_ceil(PLAIN_TILE)];
    tiled(of_format!("gemm_plain", weight), grid, PLAIN_THREADS)
}

/// Blocks that run at the same time have the same outputs, so that a weight is read from memory
/// once.
fn tiled(kernel: &'static str, [x, y]: [u32; 2], threads: u32) -> Launch {
    assert!(y <= MOST_GRID_Y, "{kernel}: {y} blocks in a column, {MOST_GRID_Y} are possible");
    Launch { kernel, grid: [x, y, 1], block: [threads, 1, 1], shared_bytes: 0 }
}

/// A `Tile` of gemm.cu.
struct Tile {
    /// In f16 and in bf16.
    kernels: [&'static str; 2],
    rows: u32,
    outputs: u32,
    /// Columns of a stage.
    step: u32,
    stages: u32,
    /// From how many rows on it is taken; below, most of it would be empty.
    least_rows: u32,
}

impl Tile {
    /// Whether there are enough rows for it, and blocks for most of the device.
    fn pays(&self, rows: u32, outputs: u32) -> bool {
        let blocks =
            u64::from(rows.div_ceil(self.rows)) * u64::from(outputs.div_ceil(self.outputs));
        rows >= self.least_rows && blocks >= BLOCKS_WANTED
    }
}

macro_rules! tile {
    ($rows:literal x $outputs:literal, $step:literal * $stages:literal, from $least_rows:literal) => {
        Tile {
            kernels: [
                concat!("gemm_", $rows, "x", $outputs, "_f16"),
                concat!("gemm_", $rows, "x", $outputs, "_bf16"),
            ],
            rows: $rows,
            outputs: $outputs,
            step: $step,
            stages: $stages,
            least_rows: $least_rows,
        }
    };
}

/// The larger, the fewer bytes are read for a product; with the smallest, more blocks read weights
/// at the same time.
const TILES: [Tile; 4] = [
    tile!(128 x 128, 64 * 3, from 65),
    tile!(64 x 128, 64 * 3, from 33),
    tile!(64 x 32, 64 * 4, from 17),
    tile!(16 x 32, 128 * 4, from 0),
];

/// Three in four of 128 processors.
const BLOCKS_WANTED: u64 = 96;

/// `GEMM_THREADS` of gemm.cu.
const GEMM_THREADS: u32 = 128;

/// `PLAIN_TILE` and `PLAIN_THREADS` of `gemm_plain.cu`.
const PLAIN_TILE: u32 = 64;
const PLAIN_THREADS: u32 = 256;

/// `GEMV_OUTPUTS` of gemv.cu.
const GROUP: u32 = 4;

/// `GEMV_WARPS` of gemv.cu.
const BLOCK_WARPS: u32 = 8;

/// `GEMV_ROWS` of gemv.cu.
const ROWS: u32 = 4;

/// 32 on each of 128 processors: with 4 KiB each on their way, 128 KiB a processor, where 25 KiB
/// cover the 700 nanoseconds that the fastest memory (4.8 TB/s) takes.
const WARPS_WANTED: u32 = 4096;

/// Columns of a warp: two vectors of eight for each lane, so that at least that much is on its way.
const LEAST_COLUMNS: u32 = 2 * 8 * WARP;
