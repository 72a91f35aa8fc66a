//! Layer normalisation (Ba, Kiros and Hinton, 2016, <https://arxiv.org/abs/1607.06450>).

use crate::elements::{Element, Elements, with_dtype};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads;

/// `x = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias` over each row of `weight.len()`
/// numbers. The variance is that of the row itself: the mean of the squared distances.
pub fn layer_norm(isa: Isa, x: &mut [f32], weight: Elements<'_>, bias: Elements<'_>, eps: f32) {
    let columns = weight.len();
    assert!(columns > 0, "a norm has weights");
    assert_eq!(bias.len(), columns, "length of the bias of a norm");
    assert!(x.len().is_multiple_of(columns), "{} numbers are not rows of {columns}", x.len());
    let piece = columns * PIECE.div_ceil(columns);
    let cost = x.len() * COST;
    threads::for_each_piece(x, piece, cost, |_, x| {
        with_dtype!(weight, weight => with_dtype!(bias, bias => {
            isa.run(LayerNorm { x, weight, bias, eps });
        }));
    });
}

struct LayerNorm<'a, W, B> {
    x: &'a mut [f32],
    weight: &'a [W],
    bias: &'a [B],
    eps: f32,
}

impl<W: Element, B: Element> Kernel for LayerNorm<'_, W, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in self.x.chunks_exact_mut(self.weight.len()) {
            let count = row.len() as f32;
            let mean = sum(simd, row) / count;
            let variance = sum_of_squared_distances(simd, row, mean) / count;
            let factor = 1.0 / (variance + self.eps).sqrt();
            scale_and_shift(simd, row, (mean, factor), self.weight, self.bias);
        }
    }
}

#[inline(always)]
fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (chunks, rest) = S::chunks(x);
    let mut sums = simd.load(&S::padded(rest));
    for chunk in chunks {
        sums = simd.add(sums, simd.load(chunk));
    }
    simd.sum(sums)
}

/// Of numbers whose mean is not zero, the squares alone would lose what tells them apart.
#[inline(always)]
fn sum_of_squared_distances<S: Simd>(simd: S, x: &[f32], mean: f32) -> f32 {
    let (chunks, rest) = S::chunks(x);
    let mut sums = simd.splat(0.0);
    for chunk in chunks {
        let distance = simd.sub(simd.load(chunk), simd.splat(mean));
        sums = simd.fma(distance, distance, sums);
    }
    simd.sum(sums) + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>()
}

#[inline(always)]
fn scale_and_shift<S: Simd, W: Element, B: Element>(
    simd: S,
    x: &mut [f32],
    (mean, factor): (f32, f32),
    weight: &[W],
    bias: &[B],
) {
    let (xs, x_rest) = S::chunks_mut(x);
    let ((weights, weight_rest), (biases, bias_rest)) = (S::chunks(weight), S::chunks(bias));
    for ((x, weight), bias) in xs.iter_mut().zip(weights).zip(biases) {
        let distance = simd.sub(simd.load(x), simd.splat(mean));
        let normal = simd.mul(distance, simd.splat(factor));
        simd.store(simd.fma(normal, W::load(simd, weight), B::load(simd, bias)), x);
    }
    for ((x, weight), bias) in x_rest.iter_mut().zip(weight_rest).zip(bias_rest) {
        *x = (*x - mean) * factor * weight.widen() + bias.widen();
    }
}

/// Three passes over the numbers.
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
            for columns in SIZES.into_iter().filter(|&columns| columns > 0) {
                for rows in [0, 1, 3, 20_000 / columns] {
                    // Far from zero, so that a mean that is left in shows.
                    let x: Vec<_> =
                        numbers(rows * columns, 2, 5.0).into_iter().map(|x| x + 3.0).collect();
                    let biases = Weights::all(&numbers(columns, 3, 1.0));
                    for (weight, bias) in
                        Weights::all(&numbers(columns, 1, 2.0)).iter().zip(&biases)
                    {
                        let (weight, bias) = (weight.elements(), bias.elements());
                        let expected = reference::layer_norm(&x, weight, bias, 1e-3);
                        let mut normed = x.clone();
                        layer_norm(isa, &mut normed, weight, bias, 1e-3);
                        assert_close(&normed, &expected, 2e-5, &format!("{isa} {rows} {columns}"));
                    }
                }
            }
        }
    }

    #[test]
    fn equal_numbers_become_the_bias_and_nan_stays_in_its_row() {
        for isa in Isa::available() {
            let (weight, bias) =
                (Elements::F32(&[1.0, 2.0, 3.0]), Elements::F32(&[0.5, 0.0, -4.0]));
            let mut x = [7.0, 7.0, 7.0, 1.0, f32::NAN, 1.0, 2.0, 4.0, 6.0];
            let expected = reference::layer_norm(&x, weight, bias, 1e-12);
            layer_norm(isa, &mut x, weight, bias, 1e-12);
            assert_close(&x, &expected, 1e-6, &isa.to_string());
            assert_eq!(x[..3], [0.5, 0.0, -4.0]);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        use std::num::NonZero;
        use std::sync::Arc;

        let weight = numbers(768, 1, 1.0);
        let results = [1, 2, 3].map(|threads| {
            let mut x = numbers(768 * 200, 2, 3.0);
            let weight = Elements::F32(&weight);
            let team = Arc::new(crate::Team::new(NonZero::new(threads).unwrap()));
            team.enter(|| layer_norm(Isa::best(), &mut x, weight, weight, 1e-12));
            x
        });
        assert!(results.iter().all(|result| *result == results[0]));
    }
}
