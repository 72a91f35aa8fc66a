//! Operations in which no element knows of another.

use crate::elements::{Element, Elements, with_dtype};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads;

/// `gate = silu(gate) * up`, with `silu(x) = x / (1 + e^-x)` (Shazeer, 2020, "GLU variants improve
/// transformer").
pub fn silu_mul(isa: Isa, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "lengths of gate and up");
    let cost = gate.len() * SILU_COST;
    threads::for_each_piece(gate, PIECE, cost, |index, gate| {
        let start = index * PIECE;
        isa.run(SiluMul { up: &up[start..start + gate.len()], gate });
    });
}

/// `x += y`.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths of the two summands");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// The same numbers as f32.
pub fn widen(isa: Isa, from: Elements<'_>, to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "lengths before and after widening");
    with_dtype!(from, from => isa.run(Widen { from, to }));
}

struct SiluMul<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for SiluMul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        silu_mul_in(simd, self.gate, self.up);
    }
}

/// [`silu_mul`] on this thread.
#[inline(always)]
pub(crate) fn silu_mul_in<S: Simd>(simd: S, gate: &mut [f32], up: &[f32]) {
    let (gates, gates_rest) = S::chunks_mut(gate);
    let (ups, ups_rest) = S::chunks(up);
    for (gate, up) in gates.iter_mut().zip(ups) {
        silu_mul_vector(simd, gate, up);
    }
    if !ups_rest.is_empty() {
        let mut gate = S::padded(gates_rest);
        silu_mul_vector(simd, &mut gate, &S::padded(ups_rest));
        gates_rest.copy_from_slice(&gate.as_ref()[..ups_rest.len()]);
    }
}

#[inline(always)]
fn silu_mul_vector<S: Simd>(simd: S, gate: &mut S::Array<f32>, up: &S::Array<f32>) {
    let x = simd.load(gate);
    let decay = simd.exp(simd.sub(simd.splat(0.0), x));
    let silu = simd.div(x, simd.add(simd.splat(1.0), decay));
    simd.store(simd.mul(silu, simd.load(up)), gate);
}

struct Widen<'a, E> {
    from: &'a [E],
    to: &'a mut [f32],
}

impl<E: Element> Kernel for Widen<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (from, from_rest) = S::chunks(self.from);
        let (to, to_rest) = S::chunks_mut(self.to);
        for (from, to) in from.iter().zip(to) {
            simd.store(E::load(simd, from), to);
        }
        for (from, to) in from_rest.iter().zip(to_rest) {
            *to = from.widen();
        }
    }
}

/// A vector of sixteen takes about as long as sixteen vectors of multiply-adds.
const SILU_COST: usize = 16;

/// 16 KiB: the gate and the up of a piece fit a first-level cache.
const PIECE: usize = 4096;

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::reference;
    use crate::reference::check::{SIZES, assert_close, numbers};

    #[test]
    fn silu_mul_is_the_references() {
        for isa in Isa::available() {
            for size in SIZES.into_iter().chain([3 * PIECE + 5, 40_000]) {
                let (gate, up) = (numbers(size, 1, 20.0), numbers(size, 2, 3.0));
                let mut fast = gate.clone();
                silu_mul(isa, &mut fast, &up);
                assert_close(
                    &fast,
                    &reference::silu_mul(&gate, &up),
                    1e-6,
                    &format!("{isa} {size}"),
                );
            }
        }
    }

    #[test]
    fn silu_of_extremes() {
        let gate = [-1e4, -100.0, -88.5, 88.5, 1e4, f32::NAN, -0.0];
        for isa in Isa::available() {
            let mut fast = gate;
            silu_mul(isa, &mut fast, &[1.0; 7]);
            assert_close(&fast, &reference::silu_mul(&gate, &[1.0; 7]), 1e-6, &isa.to_string());
        }
    }

    #[test]
    fn widening_is_exact() {
        let all = || 0..=u16::MAX;
        let halves: Vec<_> = all().map(f16::from_bits).collect();
        let brains: Vec<_> = all().map(bf16::from_bits).collect();
        let same = |fast: f32, exact: f32| fast == exact || (fast.is_nan() && exact.is_nan());
        for isa in Isa::available() {
            let mut fast = vec![0.0; 1 << 16];
            widen(isa, Elements::F16(&halves), &mut fast);
            assert!(
                fast.iter().zip(&halves).all(|(&fast, half)| same(fast, half.to_f32())),
                "{isa}"
            );
            widen(isa, Elements::BF16(&brains[3..]), &mut fast[3..]);
            assert!(fast[3..].iter().zip(&brains[3..]).all(|(&f, b)| same(f, b.to_f32())), "{isa}");
        }
    }

    #[test]
    fn adding_adds() {
        let mut x = [1.0, f32::NAN, f32::INFINITY];
        add(&mut x, &[2.0, 1.0, f32::NEG_INFINITY]);
        assert_eq!(x[0].to_bits(), 3.0_f32.to_bits());
        assert!(x[1].is_nan() && x[2].is_nan());
    }
}
