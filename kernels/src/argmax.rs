//! The largest of a row: what a greedy choice is.
//!
//! The rows are cut into pieces, whose maxima are found on all threads; then each row is looked
//! through in the one piece that has its maximum.

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::softmax::maximum;
use crate::threads;

/// The index of the largest number of each row, of equals the first. `None` where there is nothing
/// to choose from: a number is NaN or plus infinity, or all are minus infinity. The rows have one
/// length.
#[must_use]
pub fn argmax(isa: Isa, rows: &[&[f32]]) -> Vec<Option<usize>> {
    let length = rows.first().map_or(0, |row| row.len());
    assert!(rows.iter().all(|row| row.len() == length), "rows of one length");
    let pieces = length.div_ceil(PIECE).max(1);
    let mut maxima = vec![f32::NEG_INFINITY; rows.len() * pieces];
    threads::for_each_piece(&mut maxima, 1, rows.len() * length * COST, |index, maximum| {
        let (row, piece) = (index / pieces, index % pieces);
        maximum[0] = isa.run(Largest(part(rows[row], piece)));
    });
    let rows = rows.iter().zip(maxima.chunks_exact(pieces));
    rows.map(|(row, maxima)| first_of_largest(row, maxima)).collect()
}

fn part(row: &[f32], piece: usize) -> &[f32] {
    &row[piece * PIECE..row.len().min((piece + 1) * PIECE)]
}

/// Where the largest of all maxima is in the row.
fn first_of_largest(row: &[f32], maxima: &[f32]) -> Option<usize> {
    if maxima.iter().any(|maximum| maximum.is_nan()) {
        return None;
    }
    let largest = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let is_largest = |&number: &f32| number >= largest && number > f32::NEG_INFINITY;
    let piece = maxima.iter().position(is_largest)?;
    Some(piece * PIECE + part(row, piece).iter().position(is_largest)?)
}

/// The largest of some numbers; NaN where one of them is unfit.
struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        if are_fit(simd, self.0) { maximum(simd, self.0) } else { f32::NAN }
    }
}

/// Whether none is NaN or plus infinity: those, and no other number, leave something when they are
/// subtracted from themselves, where minus infinity was replaced before.
#[inline(always)]
fn are_fit<S: Simd>(simd: S, x: &[f32]) -> bool {
    let (chunks, rest) = S::chunks(x);
    let least = simd.splat(f32::MIN);
    let mut zeros = simd.splat(0.0);
    for chunk in chunks {
        let x = simd.max(least, simd.load(chunk));
        zeros = simd.add(zeros, simd.sub(x, x));
    }
    !simd.sum(zeros).is_nan() && rest.iter().all(|&x| x < f32::INFINITY)
}

/// 8 KiB: looked through twice, from a first-level cache the second time.
const PIECE: usize = 2048;

/// A number is as many bytes as two weights of bf16.
const COST: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::reference::check::{SIZES, numbers};

    /// As the definition says.
    fn plain(row: &[f32]) -> Option<usize> {
        if row.iter().any(|x| x.is_nan() || *x == f32::INFINITY) {
            return None;
        }
        let larger = |best: Option<usize>, index: usize| match best {
            Some(best) if row[best] >= row[index] => Some(best),
            _ if row[index] == f32::NEG_INFINITY => best,
            _ => Some(index),
        };
        (0..row.len()).fold(None, larger)
    }

    #[test]
    fn the_largest_is_found_whatever_the_length() {
        for isa in Isa::available() {
            for size in SIZES.into_iter().chain([2047, 2049, 3 * PIECE + 5, 49_152, 151_936]) {
                let rows: Vec<_> = (0..5).map(|seed| numbers(size, seed, 30.0)).collect();
                let expected: Vec<_> = rows.iter().map(|row| plain(row)).collect();
                let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
                assert_eq!(argmax(isa, &rows), expected, "{isa} {size}");
            }
            assert!(argmax(isa, &[]).is_empty());
        }
    }

    proptest! {
        /// A few numbers that recur, in places on both sides of every edge.
        #[test]
        fn of_equals_the_first_and_nothing_of_what_is_unfit(
            size in 1usize..3 * PIECE, largest in -2.0f32..2.0,
            places in vec((any::<prop::sample::Index>(), 0usize..40), 1..6),
        ) {
            let special = [f32::NAN, f32::INFINITY, -0.0, 0.0, f32::MIN, f32::MAX, f32::NEG_INFINITY];
            for background in [f32::NEG_INFINITY, f32::MIN, -0.0, largest - 1.0] {
                let mut row = vec![background; size];
                for (place, what) in &places {
                    row[place.index(size)] = *special.get(*what).unwrap_or(&largest);
                }
                for isa in Isa::available() {
                    prop_assert_eq!(argmax(isa, &[&row, &row]), [plain(&row); 2], "{}", isa);
                }
            }
        }
    }
}
