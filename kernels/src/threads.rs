//! When an operation is worth more than one thread, and how it is cut.
//!
//! # Layout
//!
//! - [`team`]: the threads of one caller
//! - `board`: where the caller puts up work, piece by piece, and they take it
//! - `bell`: how they wait for it
#![expect(unsafe_code, reason = "pieces of one slice are written by different threads")]

mod bell;
mod board;
pub(crate) mod team;

#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::slice;

use self::team::Team;

/// Calls `work` on each piece of `length` items of `out`, with its number, on all threads of the
/// current team if the whole costs enough. `cost` is in multiply-adds, or what takes as long.
pub(crate) fn for_each_piece<T: Send>(
    out: &mut [T],
    length: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if length >= out.len() || !pays(cost) {
        out.chunks_mut(length).enumerate().for_each(|(index, piece)| work(index, piece));
    } else {
        let pieces = Pieces::new(out, length);
        Team::current().run(pieces.count(), &|index| {
            // SAFETY: a team calls this once for each index below the count.
            work(index, unsafe { pieces.get(index) });
        });
    }
}

/// A slice that is handed out piece by piece.
struct Pieces<'a, T> {
    slice: *mut T,
    slice_length: usize,
    /// Of each piece but perhaps the last.
    length: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: what can be had of a shared `Pieces` are disjoint mutable slices, which may go to other
// threads as `T` may.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    fn new(slice: &'a mut [T], length: usize) -> Self {
        assert!(length > 0, "a piece has a length");
        let slice_length = slice.len();
        Self { slice: slice.as_mut_ptr(), slice_length, length, borrowed: PhantomData }
    }

    fn count(&self) -> usize {
        self.slice_length.div_ceil(self.length)
    }

    /// # Safety
    /// Each index is asked for once.
    #[expect(clippy::mut_from_ref, reason = "each call gives another part of the slice")]
    unsafe fn get(&self, index: usize) -> &mut [T] {
        assert!(index < self.count(), "piece {index} of {}", self.count());
        let start = index * self.length;
        let length = self.length.min(self.slice_length - start);
        // SAFETY: `start` is below the length of the slice, as just asserted, and the piece ends
        // with it at the latest; the slice is borrowed mutably, and no other call gives this part.
        unsafe { slice::from_raw_parts_mut(self.slice.add(start), length) }
    }
}

/// A rectangle of a matrix, row by row.
pub(crate) type Rectangle<'a> = Vec<&'a mut [f32]>;

/// Cuts a matrix into rectangles of `rows` by `width`, those beside each other first. The last ones
/// may be smaller.
pub(crate) fn rectangles(
    matrix: &mut [f32],
    columns: usize,
    rows: usize,
    width: usize,
) -> Vec<Rectangle<'_>> {
    let mut rectangles: Vec<Rectangle<'_>> = Vec::new();
    for band in matrix.chunks_mut(rows * columns) {
        let first = rectangles.len();
        let height = band.len() / columns;
        rectangles.resize_with(first + columns.div_ceil(width), || Vec::with_capacity(height));
        for row in band.chunks_exact_mut(columns) {
            for (rectangle, part) in rectangles[first..].iter_mut().zip(row.chunks_mut(width)) {
                rectangle.push(part);
            }
        }
    }
    rectangles
}

/// Whether to spread `cost` multiply-adds over the threads.
pub(crate) fn pays(cost: usize) -> bool {
    cost >= MIN_COST && count() > 1
}

/// Threads of the current team.
pub(crate) fn count() -> usize {
    Team::current().threads()
}

/// A region takes about a microsecond and a half where the others stand by; a core streams eight
/// times this many bf16 weights from memory in 70.
const MIN_COST: usize = 1 << 16;
