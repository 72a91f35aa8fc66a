//! The innermost loops: a small block of results that stays in registers while two operands stream
//! past.

use crate::form::{Form, Lanes, Vector};
use crate::simd::Simd;

/// `sums[m][n] += x[m] * w[n]`, lane by lane, over vectors that all run along the inner dimension.
///
/// Each lane of each sum is one chain, in the order of the inner dimension: cutting that dimension,
/// or computing other `m` and `n` beside, changes no bit.
///
/// `ahead` are the weights that the next call will stream, if any: they are asked for meanwhile.
/// Rows of a few kilobytes end before a prefetcher has understood them (measured: 17 GB/s with, 10
/// without, on one core).
#[inline(always)]
pub(crate) fn dot<F: Form, const M: usize, const N: usize>(
    form: F,
    x: [&[Lanes<F, F::X>]; M],
    w: [&[Lanes<F, F::Weight>]; N],
    ahead: &[F::Element],
    sums: &mut [[Vector<F>; N]; M],
) {
    let steps = w[0].len();
    let (mut x, mut w, mut local) = (x, w, *sums);
    for x in &mut x {
        *x = &x[..steps];
    }
    for w in &mut w {
        *w = &w[..steps];
    }
    let step_bytes = size_of::<Lanes<F, F::Weight>>() * N;
    for step in 0..steps {
        if !ahead.is_empty() {
            for line in (0..step_bytes).step_by(LINE_BYTES) {
                let byte = step * step_bytes + line;
                form.simd().prefetch(ahead, byte / size_of::<F::Element>());
            }
        }
        let mut column = [form.simd().splat(0.0); N];
        for (vector, w) in column.iter_mut().zip(w) {
            *vector = form.load_weight(&w[step]);
        }
        for (sums, x) in local.iter_mut().zip(x) {
            let x = form.load_x(&x[step]);
            for (sum, &w) in sums.iter_mut().zip(&column) {
                *sum = form.multiply_add(x, w, *sum);
            }
        }
    }
    *sums = local;
}

/// [`dot`] of one row `x` with rows that lie one behind another: `ahead` begins where they do.
///
/// The rows are read in the order of memory, one stream a thread, which comes as fast as memory is
/// read at all; rows of one kilobyte that are read beside each other come at 0.6 to 0.8 of that
/// (measured). One chain of sums at a time keeps up where each of its steps is a whole line.
#[inline(always)]
pub(crate) fn dot_in_order<F: Form, const N: usize>(
    form: F,
    x: &[Lanes<F, F::X>],
    w: [&[Lanes<F, F::Weight>]; N],
    ahead: &[F::Element],
    sums: &mut [Vector<F>; N],
) {
    let step_bytes = size_of::<Lanes<F, F::Weight>>();
    let mut byte = AHEAD_BYTES;
    for (sum, w) in sums.iter_mut().zip(w) {
        let mut local = *sum;
        for (x, w) in x.iter().zip(w) {
            form.simd().prefetch(ahead, byte / size_of::<F::Element>());
            local = form.multiply_add(form.load_x(x), form.load_weight(w), local);
            byte += step_bytes;
        }
        *sum = local;
    }
}

/// `sums[m] += a[m][t] * b[t]`: the outer products of `M` columns of numbers with rows of two
/// vectors.
///
/// Row `t` of `b` starts at vector `t * stride`, and what will be needed after `b` is `ahead`
/// vectors further (it wraps where that is before it). As in [`dot`], each lane is one chain in the order of `t`.
#[inline(always)]
pub(crate) fn outer<S: Simd, const M: usize>(
    simd: S,
    a: [&[f32]; M],
    b: &[S::Array<f32>],
    (stride, ahead): (usize, usize),
    sums: &mut [[S::Vector; 2]; M],
) {
    let steps = a[0].len();
    let (mut a, mut local) = (a, *sums);
    for a in &mut a {
        *a = &a[..steps];
    }
    for step in 0..steps {
        let row = &b[step * stride..][..2];
        for line in (0..2).step_by(LINE_BYTES / size_of::<f32>() / S::LANES) {
            simd.prefetch(row, ahead.wrapping_add(line));
        }
        let (first, second) = (simd.load(&row[0]), simd.load(&row[1]));
        for (sums, a) in local.iter_mut().zip(a) {
            let a = simd.splat(a[step]);
            sums[0] = simd.fma(a, first, sums[0]);
            sums[1] = simd.fma(a, second, sums[1]);
        }
    }
    *sums = local;
}

/// A cache line.
pub(crate) const LINE_BYTES: usize = 64;

/// How far ahead of its reads a stream asks for memory: a page, the furthest that prefetchers of
/// the hardware go.
const AHEAD_BYTES: usize = 4096;
