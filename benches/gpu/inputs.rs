//! Weights and rows of random numbers, the same on every device.

use bytes::Bytes;
use firstlight_device::{DType, Device, Error, Tensor};
use firstlight_kernels::reference::check::numbers;
use half::bf16;

/// Numbers in bf16 that tensors are cut from.
pub(crate) struct Pool(Bytes);

impl Pool {
    /// For tensors of so many `bytes` at most.
    pub(crate) fn new(bytes: usize) -> Self {
        let random = numbers(PIECE.min(bytes / 2).max(1), 1, RANGE);
        let piece: Vec<u8> =
            random.into_iter().flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect();
        let all = bytes + SHIFT_BYTES * SHIFTS;
        let mut numbers = Vec::with_capacity(all + piece.len());
        while numbers.len() < all {
            numbers.extend_from_slice(&piece);
        }
        Self(numbers.into())
    }

    /// One of some that differ.
    pub(crate) fn tensor(&self, shape: &[usize], number: usize) -> Tensor {
        let bytes = shape.iter().product::<usize>() * DType::BF16.bytes();
        let start = number % SHIFTS * SHIFT_BYTES;
        let bytes = self.0.slice(start..start + bytes);
        Tensor::from_bytes(bytes, DType::BF16, shape.to_vec()).expect("as many bytes")
    }
}

/// All ones.
pub(crate) fn ones(length: usize) -> Tensor {
    let bytes: Vec<u8> = (0..length).flat_map(|_| bf16::ONE.to_le_bytes()).collect();
    Tensor::from_bytes(bytes.into(), DType::BF16, vec![length]).expect("as many bytes")
}

/// `count` rows, which repeat those of `table`: they are exact in bf16, so no device rounds them.
pub(crate) fn rows<D: Device>(
    device: &D,
    table: &Tensor,
    count: usize,
) -> Result<D::Activations, Error> {
    let mut out = device.activations(count, table.shape()[1])?;
    let numbers: Vec<_> = (0..count).map(|row| number(row % table.shape()[0])).collect();
    device.embed(&device.upload(table)?, &numbers, &mut out)?;
    Ok(out)
}

/// The largest difference, beside the largest number; `found` may have more rows than `expected`, which then repeat.
pub(crate) fn error(found: &[f32], expected: &[f32]) -> f64 {
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let differences = found.iter().zip(expected.iter().cycle()).map(|(a, b)| (a - b).abs());
    let worst =
        differences.fold(0.0_f32, |worst, d| if d.is_nan() { f32::INFINITY } else { worst.max(d) });
    f64::from(worst) / f64::from(largest)
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("a few hundred")
}

/// Of activations and weights alike: nothing overflows, and nothing vanishes.
const RANGE: f32 = 0.05;

/// Random numbers, which repeat.
const PIECE: usize = 1 << 22;

/// Tensors start at one of so many places, so many bytes apart.
const SHIFTS: usize = 8;
const SHIFT_BYTES: usize = 1 << 12;
