//! Rotary position embedding (Su et al., 2021, <https://arxiv.org/abs/2104.09864>), in the
//! half-split layout.

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads;

/// Cosines and sines of the angles of the positions from `first_position` on, one row each: out
/// `(rows, 2 * inverse_frequencies.len())`, first the cosines. They are the same for all heads of
/// all layers.
///
/// The angle is rounded to f32, as the models were trained with: far into a context this matters
/// more than anything that is done with it later.
pub fn turns(inverse_frequencies: &[f32], first_position: usize, out: &mut [f32]) {
    let half = inverse_frequencies.len();
    assert!(
        half > 0 && out.len().is_multiple_of(2 * half),
        "{} numbers are not rows for {half} angles",
        out.len()
    );
    let cost = out.len() * TURN_COST;
    threads::for_each_piece(out, 2 * half, cost, |index, row| {
        let (cos, sin) = row.split_at_mut(half);
        let position = (first_position + index) as f32;
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(inverse_frequencies) {
            (*sin, *cos) = (position * frequency).sin_cos();
        }
    });
}

/// In each head, columns `i` and `i + head_dim / 2` turn by angle `i` of their row. `x` is `(rows,
/// columns)`, whole heads a row; the [`turns`] are `(rows, head_dim)`.
pub fn rope(isa: Isa, x: &mut [f32], columns: usize, turns: &[f32], head_dim: usize) {
    if x.is_empty() {
        return;
    }
    assert!(
        head_dim > 0 && columns.is_multiple_of(head_dim) && x.len().is_multiple_of(columns),
        "{} numbers are not rows of {columns} columns of heads of {head_dim}",
        x.len()
    );
    assert_eq!(turns.len() / head_dim, x.len() / columns, "rows of turns");
    let cost = x.len() * COST;
    threads::for_each_piece(x, columns, cost, |index, row| {
        isa.run(Rope { row, turns: &turns[index * head_dim..][..head_dim] });
    });
}

struct Rope<'a> {
    row: &'a mut [f32],
    /// Cosines, then sines.
    turns: &'a [f32],
}

impl Kernel for Rope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (cos, sin) = self.turns.split_at(self.turns.len() / 2);
        for head in self.row.chunks_exact_mut(2 * cos.len()) {
            let (left, right) = head.split_at_mut(cos.len());
            turn(simd, left, right, cos, sin);
        }
    }
}

/// `(left, right) = (left cos - right sin, right cos + left sin)`.
#[inline(always)]
fn turn<S: Simd>(simd: S, left: &mut [f32], right: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (lefts, left_rest) = S::chunks_mut(left);
    let (rights, right_rest) = S::chunks_mut(right);
    let (coses, cos_rest) = S::chunks(cos);
    let (sines, sin_rest) = S::chunks(sin);
    for (((left, right), cos), sin) in lefts.iter_mut().zip(rights).zip(coses).zip(sines) {
        let (l, r, c, s) = (simd.load(left), simd.load(right), simd.load(cos), simd.load(sin));
        simd.store(simd.sub(simd.mul(l, c), simd.mul(r, s)), left);
        simd.store(simd.add(simd.mul(r, c), simd.mul(l, s)), right);
    }
    let rests = left_rest.iter_mut().zip(right_rest).zip(cos_rest).zip(sin_rest);
    for (((left, right), cos), sin) in rests {
        (*left, *right) = (*left * cos - *right * sin, *right * cos + *left * sin);
    }
}

/// Two multiply-adds for each number, and it is written where it was read.
const COST: usize = 4;

/// Half a sine and a cosine, 20 nanoseconds.
const TURN_COST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::reference::check::{assert_close, numbers};

    fn turned(
        isa: Isa,
        mut x: Vec<f32>,
        columns: usize,
        frequencies: &[f32],
        first: usize,
    ) -> Vec<f32> {
        let head_dim = 2 * frequencies.len();
        let mut angles = vec![f32::NAN; x.len() / columns * head_dim];
        turns(frequencies, first, &mut angles);
        rope(isa, &mut x, columns, &angles, head_dim);
        x
    }

    fn inverse_frequencies(head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2).map(|i| 1e4_f32.powf(-2.0 * i as f32 / head_dim as f32)).collect()
    }

    #[test]
    fn turns_are_the_references() {
        for isa in Isa::available() {
            for head_dim in [2, 6, 16, 32, 64, 80, 96, 128, 256] {
                for (rows, heads, first) in [(1, 1, 0), (1, 3, 4095), (5, 2, 17), (70, 16, 100_000)]
                {
                    let frequencies = inverse_frequencies(head_dim);
                    let columns = heads * head_dim;
                    let x = numbers(rows * columns, 3, 4.0);
                    let expected = reference::rope(&x, columns, &frequencies, first);
                    let fast = turned(isa, x, columns, &frequencies, first);
                    let what =
                        format!("{isa} {rows} rows of {heads} heads of {head_dim} at {first}");
                    assert_close(&fast, &expected, 1e-6, &what);
                }
            }
        }
    }

    #[test]
    fn position_zero_turns_nothing_and_no_rows_are_no_work() {
        for isa in Isa::available() {
            let x = numbers(128, 5, 1.0);
            assert_eq!(turned(isa, x.clone(), 128, &inverse_frequencies(64), 0), x);
            assert!(turned(isa, Vec::new(), 128, &inverse_frequencies(64), 7).is_empty());
        }
    }
}
