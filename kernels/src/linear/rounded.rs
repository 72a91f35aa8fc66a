//! Activations, rounded to bf16 once for all tiles that multiply them.

use std::cell::Cell;

use half::bf16;

use crate::isa::Isa;
use crate::simd::{Bf16Dot, Bf16Kernel, Simd};
use crate::threads;

/// Rows of activations in bf16, each of whole cache lines, and with zeros behind it.
#[derive(Default)]
pub(super) struct Rounded {
    pairs: Vec<[bf16; 2]>,
    /// Where the first line begins.
    start: usize,
    /// Pairs from a row to the next.
    stride: usize,
}

impl Rounded {
    /// The rows of `x`, which are `inputs` long and not empty, in the memory of this thread's last ones.
    pub(super) fn of(isa: Isa, x: &[f32], inputs: usize) -> Self {
        let mut rounded = SPARE.take();
        let stride = odd_lines(inputs) * LINE_PAIRS;
        let pairs = x.len() / inputs * stride;
        if rounded.pairs.len() < pairs + LINE_PAIRS {
            rounded.pairs = vec![[bf16::ZERO; 2]; pairs + LINE_PAIRS];
        }
        rounded.stride = stride;
        rounded.start = rounded.pairs.as_ptr().align_offset(LINE_BYTES).min(LINE_PAIRS);
        let out = &mut rounded.pairs[rounded.start..][..pairs];
        let piece_rows = (PIECE / stride).max(1);
        threads::for_each_piece(out, piece_rows * stride, x.len(), |index, out| {
            let x = &x[index * piece_rows * inputs..];
            isa.run_bf16(Round { x, inputs, out, stride });
        });
        rounded
    }

    /// The rows from `first` on.
    pub(super) fn rows(&self, first: usize) -> &[[bf16; 2]] {
        &self.pairs[self.start + first * self.stride..]
    }

    /// Pairs from a row to the next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Leaves the memory to the next.
    pub(super) fn recycle(self) {
        SPARE.set(self);
    }
}

/// Lines of a row: an odd number, since rows that lie a power of two apart would share a few sets
/// of the first-level cache.
fn odd_lines(inputs: usize) -> usize {
    inputs.div_ceil(2 * LINE_PAIRS) | 1
}

struct Round<'a> {
    /// Rows of `inputs`.
    x: &'a [f32],
    inputs: usize,
    /// As many rows of `stride` as it has.
    out: &'a mut [[bf16; 2]],
    stride: usize,
}

impl Bf16Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Bf16Dot>(self, dot: D) {
        for (x, out) in self.x.chunks(self.inputs).zip(self.out.chunks_exact_mut(self.stride)) {
            let (pairs, last) = x.as_chunks();
            let (chunks, rest) = D::Simd::chunks(pairs);
            let out = D::Simd::chunks_mut(out).0;
            for (x, out) in chunks.iter().zip(&mut *out) {
                *out = dot.round(x);
            }
            let mut padded = D::Simd::padded(rest);
            if let [last] = *last {
                padded.as_mut()[rest.len()] = [last, 0.0];
            }
            if let Some(out) = out.get_mut(chunks.len()) {
                *out = dot.round(&padded);
            }
        }
    }
}

thread_local! {
    /// The memory of the last rows that this thread had rounded: megabytes of a long prompt, which
    /// would else be mapped and cleared anew for each product.
    static SPARE: Cell<Rounded> = Cell::default();
}

const LINE_BYTES: usize = 64;

const LINE_PAIRS: usize = LINE_BYTES / size_of::<[bf16; 2]>();

/// Pairs that a thread rounds at a time: 64 KiB of activations.
const PIECE: usize = 8192;
