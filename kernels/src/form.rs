//! How a tile multiplies: what lies in memory, and what meets in the registers.
//!
//! Weights are widened to f32 and meet activations in f32; or bf16 meet bf16, two of each for a
//! lane of the sums, where the processor can.

use std::marker::PhantomData;

use half::bf16;

use crate::elements::Element;
use crate::simd::{Bf16Dot, Simd};

/// A way to multiply activations with weights.
pub(crate) trait Form: Copy {
    type Simd: Simd;

    /// A weight, as it is stored.
    type Element: Element;
    /// What a lane takes of a row of weights at a time.
    type Weight: Copy;
    /// What a lane takes of a row of activations at a time.
    type X: Copy + Default;

    fn simd(self) -> Self::Simd;

    /// A row of weights as whole vectors, and its rest with zeros behind it.
    fn split(row: &[Self::Element]) -> Split<'_, Self>;

    fn load_x(self, from: &Lanes<Self, Self::X>) -> Vector<Self>;

    fn load_weight(self, from: &Lanes<Self, Self::Weight>) -> Vector<Self>;

    /// `sum + x * weight`
    fn multiply_add(self, x: Vector<Self>, weight: Vector<Self>, sum: Vector<Self>)
    -> Vector<Self>;
}

/// A row of weights as whole vectors, and its rest with zeros behind it.
pub(crate) type Split<'a, F> = (&'a [Lanes<F, <F as Form>::Weight>], Lanes<F, <F as Form>::Weight>);

/// A register of sums.
pub(crate) type Vector<F> = <<F as Form>::Simd as Simd>::Vector;

/// A `T` for each lane.
pub(crate) type Lanes<F, T> = <<F as Form>::Simd as Simd>::Array<T>;

/// Activations in f32, and weights that become f32 on their way into the registers.
#[derive(Clone, Copy)]
pub(crate) struct Widened<S, E> {
    simd: S,
    element: PhantomData<E>,
}

impl<S, E> Widened<S, E> {
    pub(crate) fn new(simd: S) -> Self {
        Self { simd, element: PhantomData }
    }
}

impl<S: Simd, E: Element> Form for Widened<S, E> {
    type Simd = S;
    type Element = E;
    type Weight = E;
    type X = f32;

    #[inline(always)]
    fn simd(self) -> S {
        self.simd
    }

    #[inline(always)]
    fn split(row: &[E]) -> Split<'_, Self> {
        let (chunks, rest) = S::chunks(row);
        (chunks, S::padded(rest))
    }

    #[inline(always)]
    fn load_x(self, from: &S::Array<f32>) -> S::Vector {
        self.simd.load(from)
    }

    #[inline(always)]
    fn load_weight(self, from: &S::Array<E>) -> S::Vector {
        E::load(self.simd, from)
    }

    #[inline(always)]
    fn multiply_add(self, x: S::Vector, weight: S::Vector, sum: S::Vector) -> S::Vector {
        self.simd.fma(x, weight, sum)
    }
}

/// Activations that were rounded to bf16, and bf16 weights, by the processor's own products.
#[derive(Clone, Copy)]
pub(crate) struct Pairs<D>(pub(crate) D);

impl<D: Bf16Dot> Form for Pairs<D> {
    type Simd = D::Simd;
    type Element = bf16;
    type Weight = [bf16; 2];
    type X = [bf16; 2];

    #[inline(always)]
    fn simd(self) -> D::Simd {
        self.0.simd()
    }

    #[inline(always)]
    fn split(row: &[bf16]) -> Split<'_, Self> {
        let (pairs, last) = row.as_chunks();
        let (chunks, rest) = D::Simd::chunks(pairs);
        let mut padded = D::Simd::padded(rest);
        if let [last] = *last {
            padded.as_mut()[rest.len()] = [last, bf16::ZERO];
        }
        (chunks, padded)
    }

    #[inline(always)]
    fn load_x(self, from: &Lanes<Self, [bf16; 2]>) -> Vector<Self> {
        self.0.load(from)
    }

    #[inline(always)]
    fn load_weight(self, from: &Lanes<Self, [bf16; 2]>) -> Vector<Self> {
        self.0.load(from)
    }

    #[inline(always)]
    fn multiply_add(
        self,
        x: Vector<Self>,
        weight: Vector<Self>,
        sum: Vector<Self>,
    ) -> Vector<Self> {
        self.0.dot(x, weight, sum)
    }
}
