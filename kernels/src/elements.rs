//! Numbers in the dtype in which a checkpoint stores them.

use std::ops::Range;

use half::{bf16, f16};

use crate::simd::Simd;

/// A slice of weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Elements<'a> {
    /// IEEE 754 binary32.
    F32(&'a [f32]),
    /// IEEE 754 binary16.
    F16(&'a [f16]),
    /// The upper half of binary32.
    BF16(&'a [bf16]),
}

impl<'a> Elements<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F16(elements) => elements.len(),
            Self::BF16(elements) => elements.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Those in `range`.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Elements<'a> {
        match self {
            Self::F32(elements) => Self::F32(&elements[range]),
            Self::F16(elements) => Self::F16(&elements[range]),
            Self::BF16(elements) => Self::BF16(&elements[range]),
        }
    }

    /// One of them, as f32.
    #[must_use]
    pub fn get(self, index: usize) -> f32 {
        match self {
            Self::F32(elements) => elements[index],
            Self::F16(elements) => elements[index].widen(),
            Self::BF16(elements) => elements[index].widen(),
        }
    }
}

/// A weight of a linear layer: row-major `(outputs, inputs)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix<'a> {
    elements: Elements<'a>,
    outputs: usize,
    inputs: usize,
}

impl<'a> Matrix<'a> {
    /// `elements` as `(outputs, inputs)`, which they must be as many as.
    #[must_use]
    pub fn new(elements: Elements<'a>, outputs: usize, inputs: usize) -> Self {
        assert_eq!(elements.len(), outputs * inputs, "elements of a ({outputs}, {inputs}) matrix");
        Self { elements, outputs, inputs }
    }

    /// The elements, row after row.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        self.elements
    }

    /// Number of rows.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of columns.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// A dtype of weights, inside kernels.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Exactly the same number as f32.
    fn widen(self) -> f32;

    /// A vector of them as f32.
    fn load<S: Simd>(simd: S, from: &S::Array<Self>) -> S::Vector;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &S::Array<Self>) -> S::Vector {
        simd.load(from)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32_const() // `to_f32` asks for the processor's features each time
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &S::Array<Self>) -> S::Vector {
        simd.load_f16(from)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &S::Array<Self>) -> S::Vector {
        simd.load_bf16(from)
    }
}

/// Runs `$body` with `$slice` bound to the typed slice in `$elements`.
macro_rules! with_dtype {
    ($elements:expr, $slice:ident => $body:expr) => {
        match $elements {
            $crate::Elements::F32($slice) => $body,
            $crate::Elements::F16($slice) => $body,
            $crate::Elements::BF16($slice) => $body,
        }
    };
}
pub(crate) use with_dtype;
