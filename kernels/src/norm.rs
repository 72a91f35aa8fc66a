//! Root mean square layer normalisation (Zhang and Sennrich, 2019,
//! <https://arxiv.org/abs/1910.07467>).

use crate::elements::{Element, Elements, with_dtype};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads;

/// `out = x / sqrt(mean(x^2) + eps) * weight` over each run of `weight.len()` numbers: a row of a
/// layer norm, or a head.
pub fn rms_norm(isa: Isa, x: &[f32], weight: Elements<'_>, eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "lengths before and after a norm");
    let piece = check_runs(x, weight);
    threads::for_each_piece(out, piece, x.len() * COST, |index, out| {
        out.copy_from_slice(&x[index * piece..][..out.len()]);
        normalise(isa, out, weight, eps);
    });
}

/// [`rms_norm`] with `x` as its own output.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: Elements<'_>, eps: f32) {
    let piece = check_runs(x, weight);
    let cost = x.len() * COST;
    threads::for_each_piece(x, piece, cost, |_, x| normalise(isa, x, weight, eps));
}

/// The length of a piece of whole runs.
fn check_runs(x: &[f32], weight: Elements<'_>) -> usize {
    let run = weight.len();
    assert!(run > 0, "a norm has weights");
    assert!(x.len().is_multiple_of(run), "{} numbers are not runs of {run}", x.len());
    run * PIECE.div_ceil(run)
}

fn normalise(isa: Isa, x: &mut [f32], weight: Elements<'_>, eps: f32) {
    with_dtype!(weight, weight => isa.run(RmsNorm { x, weight, eps }));
}

struct RmsNorm<'a, E> {
    x: &'a mut [f32],
    weight: &'a [E],
    eps: f32,
}

impl<E: Element> Kernel for RmsNorm<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for run in self.x.chunks_exact_mut(self.weight.len()) {
            let mean = sum_of_squares(simd, run) / run.len() as f32;
            scale(simd, run, self.weight, 1.0 / (mean + self.eps).sqrt());
        }
    }
}

#[inline(always)]
fn sum_of_squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (chunks, rest) = S::chunks(x);
    let mut sums = simd.splat(0.0);
    for chunk in chunks {
        let x = simd.load(chunk);
        sums = simd.fma(x, x, sums);
    }
    let x = simd.load(&S::padded(rest));
    simd.sum(simd.fma(x, x, sums))
}

#[inline(always)]
fn scale<S: Simd, E: Element>(simd: S, x: &mut [f32], weight: &[E], factor: f32) {
    let (xs, x_rest) = S::chunks_mut(x);
    let (weights, weight_rest) = S::chunks(weight);
    for (x, weight) in xs.iter_mut().zip(weights) {
        let scaled = simd.mul(simd.load(x), simd.splat(factor));
        simd.store(simd.mul(scaled, E::load(simd, weight)), x);
    }
    for (x, weight) in x_rest.iter_mut().zip(weight_rest) {
        *x = *x * factor * weight.widen();
    }
}

/// Two passes over the numbers, and a copy.
const COST: usize = 4;

/// Numbers in a piece, at least: 16 KiB stay in a first-level cache between the passes.
const PIECE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::reference::check::{SIZES, Weights, assert_close, numbers};

    #[test]
    fn norms_are_the_references() {
        for isa in Isa::available() {
            for run in SIZES.into_iter().filter(|&run| run > 0) {
                for runs in [0, 1, 3, 20_000 / run] {
                    for weight in Weights::all(&numbers(run, 1, 2.0)) {
                        let x = numbers(runs * run, 2, 5.0);
                        let what = format!("{isa} {runs} runs of {run}");
                        let expected = reference::rms_norm(&x, weight.elements(), 1e-6);
                        let mut out = vec![f32::NAN; x.len()];
                        rms_norm(isa, &x, weight.elements(), 1e-6, &mut out);
                        assert_close(&out, &expected, 3e-6, &what);
                        let mut in_place = x;
                        rms_norm_in_place(isa, &mut in_place, weight.elements(), 1e-6);
                        assert_eq!(in_place, out, "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_stay_zero_and_nan_stays_in_its_row() {
        for isa in Isa::available() {
            let weight = Elements::F32(&[1.0, 2.0, 3.0]);
            let mut x = [0.0, 0.0, 0.0, 1.0, f32::NAN, 1.0, 2.0, 2.0, 2.0];
            let expected = reference::rms_norm(&x, weight, 1e-5);
            rms_norm_in_place(isa, &mut x, weight, 1e-5);
            assert_close(&x, &expected, 1e-6, &isa.to_string());
            assert_eq!(x[..3], [0.0; 3]);
        }
    }
}
