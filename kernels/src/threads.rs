//! When an operation is worth more than one thread.

use rayon::prelude::*;

/// Calls `work` on each piece of `length` items of `out`, with its number, on all threads of the current pool if the
/// whole costs enough. `cost` is in multiply-adds, or what takes as long.
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

/// Whether to spread `cost` multiply-adds over the threads.
pub(crate) fn pays(cost: usize) -> bool {
    cost >= MIN_COST && rayon::current_num_threads() > 1
}

/// Threads in the current pool.
pub(crate) fn count() -> usize {
    rayon::current_num_threads()
}

/// A fork and a join take 5 to 20 microseconds where the other thread sleeps; a core streams half a million bf16
/// weights from memory in about 70.
const MIN_COST: usize = 1 << 19;
