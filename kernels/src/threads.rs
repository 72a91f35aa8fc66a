//! When an operation is worth more than one thread.

use rayon::prelude::*;

/// Calls `work` on each piece of `length` items of `out`, with its number, on all threads of the
/// current pool if the whole costs enough. `cost` is in multiply-adds, or what takes as long.
pub(crate) fn for_each_piece<T: Send>(
    out: &mut [T],
    length: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if length >= out.len() || !pays(cost) {
        out.chunks_mut(length).enumerate().for_each(|(index, piece)| work(index, piece));
    } else {
        out.par_chunks_mut(length).enumerate().for_each(|(index, piece)| work(index, piece));
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
    cost >= MIN_COST && rayon::current_num_threads() > 1
}

/// Threads in the current pool.
pub(crate) fn count() -> usize {
    rayon::current_num_threads()
}

/// A fork and a join take 5 to 20 microseconds where the other thread sleeps; a core streams half a
/// million bf16 weights from memory in about 70.
const MIN_COST: usize = 1 << 19;
