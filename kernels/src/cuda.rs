//! The kernels for CUDA: their machine code, and for each the launch that covers its work.
//!
//! Nothing here knows a driver: whoever has one loads [`FATBIN`], asks a function of this module
//! for the [`Launch`] of an operation, and pushes the arguments, which the function's description
//! lists in the order of the kernel's own. A `u32*` and the like is an address on the device; "or
//! null" is 0.
//!
//! # Layout
//!
//! - [`mod@linear`]: products with weights
//! - [`mod@attention`]: over a cache
//! - [`sampling`]: logits to tokens
//! - [`mod@limits`]: what a device can do at most
//! - here: the rest
//!
//! The sources are `kernels/cuda/*.cu`. Activations are f32, row-major and contiguous; weights are
//! `T`, in a [`Format`]; all addresses of matrices are multiples of 16. Where the rows of a pass
//! stand, and which blocks of the cache their sequences have, lies on the device, too, as [`Place`]s
//! and `tables`, so that a decode step can be recorded once and run again.

pub mod attention;
pub mod limits;
pub mod linear;
pub mod sampling;

include!("cuda/architectures.rs");

/// The machine code of all kernels, for `cuModuleLoadData`.
pub static FATBIN: &[u8] = {
    static FILE: &Aligned<[u8]> =
        &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));
    &FILE.0
};

/// The driver reads the headers in it as words of eight bytes.
#[repr(align(16))]
struct Aligned<T: ?Sized>(T);

/// The version of CUDA whose drivers can read [`FATBIN`], as `cuDriverGetVersion` has it: that of
/// the compiler.
pub const DRIVER_VERSION: u32 = 13_000;

/// How a kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its name in [`FATBIN`].
    pub kernel: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block. More than [`PLAIN_SHARED_BYTES`] has to be asked for with
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
    pub shared_bytes: u32,
}

/// Shared memory that every kernel gets without asking.
pub const PLAIN_SHARED_BYTES: u32 = 48 << 10;

/// Shared memory that a block gets at most where all [`ARCHITECTURES`] shall run it: 99 KiB on 86,
/// 89 and 120.
pub const MOST_SHARED_BYTES: u32 = 99 << 10;

impl Launch {
    fn with_shared(self, shared_bytes: u32) -> Self {
        Self { shared_bytes, ..self }
    }
}

/// Rows of one sequence that follow each other, as the kernels read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the first of them among the rows of the pass.
    pub row: u32,
    /// How many there are.
    pub rows: u32,
    /// The position of the first of them in its sequence.
    pub position: u32,
    /// Where in `tables` the blocks of the sequence begin; before them stands the number of positions
    /// that it has in this pass.
    pub table: u32,
}

impl Place {
    /// What it is in memory.
    #[must_use]
    pub fn words(self) -> [u32; 4] {
        [self.row, self.rows, self.position, self.table]
    }

    /// The bytes of one, a multiple of which is where they begin.
    pub const BYTES: usize = 16;
}

/// What weights and caches are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
}

/// The kernel of that name and format.
macro_rules! of_format {
    ($name:literal, $format:expr) => {
        match $format {
            $crate::cuda::Format::F32 => concat!($name, "_f32"),
            $crate::cuda::Format::F16 => concat!($name, "_f16"),
            $crate::cuda::Format::Bf16 => concat!($name, "_bf16"),
        }
    };
}
pub(crate) use of_format;

/// `out (rows, columns) = table[rows[i]]`: `(T* table, u32* rows, f32* out, u32 columns, u32
/// table_rows)`. A row past the table stops the device with an error.
#[must_use]
pub fn embed(table: Format, rows: u32, columns: u32) -> Launch {
    plain(of_format!("embed", table), [rows, 1], threads_for(columns))
}

/// Norms of `runs` runs of `run` numbers: `(f32* x, T* weight, f32 eps, f32* out, T* rounded or
/// null, u32 run)`. `x` may be `out`; `rounded` gets the same numbers in the format of the weight.
#[must_use]
pub fn rms_norm(weight: Format, runs: u32, run: u32) -> Launch {
    plain(of_format!("rms_norm", weight), [runs, 1], threads_for(run.div_ceil(4)))
}

/// Norms of rows: `(f32* x, T* weight, T* bias, f32 eps, T* rounded or null, u32 columns)`, with x
/// `(rows, columns)`; `rounded` gets the same numbers in the format of the weight.
#[must_use]
pub fn layer_norm(weight: Format, rows: u32, columns: u32) -> Launch {
    plain(of_format!("layer_norm", weight), [rows, 1], threads_for(columns.div_ceil(4)))
}

/// `x += y`: `(f32* x, f32* y, u64 count)`.
#[must_use]
pub fn add(count: u64) -> Launch {
    elementwise("add", count)
}

/// `(f32* x, T* out, u64 count)`, where `T` has 16 bits.
#[must_use]
pub fn round(to: Format, count: u64) -> Launch {
    let kernel = match to {
        Format::Bf16 => "round_bf16",
        Format::F16 => "round_f16",
        Format::F32 => panic!("f32 is not rounded"),
    };
    elementwise(kernel, count)
}

/// Cosines and sines of `half` angles at each of `rows` places, of one row each: `(f32*
/// inverse_frequencies, Place* places, f32* out, u32 half)`.
#[must_use]
pub fn turns(rows: u32, half: u32) -> Launch {
    plain("turns", [rows, 1], threads_for(half))
}

/// `(f32* x, f32* turns, u32 columns, u32 head_dim)`, with x `(rows, columns)`.
#[must_use]
pub fn rope(rows: u32, columns: u32) -> Launch {
    plain("rope", [rows, (columns / 2).div_ceil(THREADS)], THREADS)
}

/// Puts rows of `columns = kv_heads * head_dim` into a cache of `blocks` blocks, each where its
/// place says: `(f32* keys, f32* values, T* key_cache, T* value_cache, Place* places, u32* tables,
/// u32 kv_heads, u32 head_dim, u32 blocks)`. A block past those stops the device with an error.
#[must_use]
pub fn append(cache: Format, rows: u32, columns: u32) -> Launch {
    plain(of_format!("append", cache), [rows, columns.div_ceil(THREADS)], THREADS)
}

fn plain(kernel: &'static str, [x, y]: [u32; 2], threads: u32) -> Launch {
    assert!(y <= MOST_GRID_Y, "{kernel}: {y} blocks in a column, {MOST_GRID_Y} are possible");
    Launch { kernel, grid: [x, y, 1], block: [threads, 1, 1], shared_bytes: 0 }
}

fn elementwise(kernel: &'static str, count: u64) -> Launch {
    let blocks = count.div_ceil(u64::from(THREADS)).clamp(1, MOST_BLOCKS);
    plain(kernel, [u32::try_from(blocks).expect("it was clamped"), 1], THREADS)
}

/// Whole warps for `items` items, up to what one block has use of.
fn threads_for(items: u32) -> u32 {
    items.next_multiple_of(WARP).clamp(WARP, MOST_THREADS)
}

const WARP: u32 = 32;

/// Of a block, where nothing asks for more or less.
const THREADS: u32 = 256;

/// Of a block that has a row for itself. The kernels may have 64 registers a thread at this many.
const MOST_THREADS: u32 = 1024;

/// Blocks of a kernel whose threads take more than one element: 16 for each of 256 processors,
/// which there is no device with.
const MOST_BLOCKS: u64 = 4096;

/// What CUDA allows in the second and in the third dimension of a grid; in the first it is 2^31 -
/// 1.
const MOST_GRID_Y: u32 = 65_535;

#[cfg(test)]
mod tests;
