//! Weights, keys and values that come from memory.

use std::slice;

use firstlight_device::{Arena, DType, Tensor};
use firstlight_kernels::reference::check::numbers;
use firstlight_kernels::{Elements, Matrix};
use half::bf16;

/// Memory that comes from no cache, a stretch after the other.
pub(crate) struct Stream {
    tensor: Tensor,
    end: usize,
}

impl Stream {
    pub(crate) fn new(dtype: DType, bytes: usize) -> Self {
        let arena = Arena::new(bytes as u64).expect("memory");
        let mut region =
            arena.carve(slice::from_ref(&(0..bytes as u64))).expect("a region").remove(0);
        let bits = |x: f32| match dtype {
            DType::F32 => x.to_le_bytes().to_vec(),
            _ => bf16::from_f32(x).to_le_bytes().to_vec(),
        };
        let piece: Vec<u8> = numbers(1 << 16, 1, 1.0).into_iter().flat_map(bits).collect();
        for stretch in region.as_mut().chunks_mut(piece.len()) {
            stretch.copy_from_slice(&piece[..stretch.len()]);
        }
        let shape = vec![bytes / dtype.bytes()];
        Self { tensor: Tensor::from_region(region, dtype, shape).expect("whole numbers"), end: 0 }
    }

    pub(crate) fn take(&mut self, count: usize) -> Elements<'_> {
        let all = self.tensor.elements();
        let start = if self.end + count > all.len() { 0 } else { self.end };
        self.end = start + count;
        all.slice(start..self.end)
    }

    /// Matrices of so many outputs each.
    pub(crate) fn next<const N: usize>(
        &mut self,
        outputs: [usize; N],
        inputs: usize,
    ) -> [Matrix<'_>; N] {
        let mut rest = self.take(outputs.iter().sum::<usize>() * inputs);
        outputs.map(|outputs| {
            let count = outputs * inputs;
            let matrix = Matrix::new(rest.slice(0..count), outputs, inputs);
            rest = rest.slice(count..rest.len());
            matrix
        })
    }
}
