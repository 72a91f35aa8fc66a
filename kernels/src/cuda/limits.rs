//! What a GPU can do at most, measured when asked: what its benches divide by. Not part of [`FATBIN`](super::FATBIN),
//! since nobody needs it who does not measure.

use super::{Aligned, Launch};

/// [`multiply_adds`] as PTX, for `cuModuleLoadData`: the driver compiles it for whatever it has.
pub static FATBIN: &[u8] = {
    static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../../cuda/limits/matrix.fatbin"));
    &FILE.0
};

/// Products of 16 bits on the matrix units that never leave the registers: `(u32 turns, f32* out)`, with a number of
/// `out` for each thread.
#[must_use]
pub fn multiply_adds(blocks: u32) -> Launch {
    Launch {
        kernel: "multiply_adds",
        grid: [blocks, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    }
}

/// Floating-point operations of a block of [`multiply_adds`] with so many `turns`.
#[must_use]
pub fn flop(turns: u32) -> u64 {
    let warps = u64::from(THREADS / super::WARP);
    u64::from(turns) * warps * CHAINS * PRODUCT_FLOP
}

/// Of a block of [`multiply_adds`]: a warp for each of the four sets of matrix units of a processor.
pub const THREADS: u32 = 128;

/// `MATRIX_CHAINS` of matrix.cu.
const CHAINS: u64 = 8;

/// A multiplication and an addition for each number of 16 x 8 x 16.
const PRODUCT_FLOP: u64 = 2 * 16 * 8 * 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_that_of_the_source() {
        let source = include_str!("../../cuda/limits/matrix.cu");
        assert!(source.contains("const u32 MATRIX_CHAINS = 8;"));
        assert_eq!(flop(1), 4 * 8 * 4096);
        assert_eq!(FATBIN[..4], 0xba55_ed50_u32.to_le_bytes(), "the mark of a fatbin");
        assert!(FATBIN.as_ptr().addr().is_multiple_of(8), "words of eight bytes");
    }
}
