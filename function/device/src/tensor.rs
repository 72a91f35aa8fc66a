//! A filled region, or bytes that somebody else keeps, with a dtype and a shape.
//!
//! Tensors are immutable and cheap to clone. Their bytes are used where they lie, whether that is
//! an arena or a mapped file; only bytes that do not start on a multiple of the element's size are
//! copied, once.
#![expect(unsafe_code, reason = "bytes are read as numbers without a copy")]

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use firstlight_kernels::Elements;

use crate::{Error, Region};

#[cfg(target_endian = "big")]
compile_error!("safetensors are little-endian, and are used as they lie in memory");

/// Type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    BF16,
}

impl DType {
    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        })
    }
}

/// Immutable numbers in row-major order.
#[derive(Clone)]
pub struct Tensor {
    /// As many as the shape asks for, and aligned for the dtype: `checked` is the only constructor.
    bytes: Bytes,
    dtype: DType,
    shape: Arc<[usize]>,
}

impl Tensor {
    /// A filled region as a tensor, in place. It must start on a multiple of the element's size.
    pub fn from_region(region: Region, dtype: DType, shape: Vec<usize>) -> Result<Self, Error> {
        let offset = region.range().start;
        if !is_aligned(region.as_ref(), dtype) {
            return Err(Error::Misaligned { offset, dtype });
        }
        Self::checked(Bytes::from_owner(region), dtype, shape)
    }

    /// Bytes as a tensor: in place where they are aligned for the dtype, copied once where they are
    /// not.
    pub fn from_bytes(bytes: Bytes, dtype: DType, shape: Vec<usize>) -> Result<Self, Error> {
        let aligned = if is_aligned(&bytes, dtype) { bytes } else { Aligned::copy(&bytes) };
        Self::checked(aligned, dtype, shape)
    }

    /// Elements along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of an element.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements as they lie in memory, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements as numbers.
    #[must_use]
    pub fn elements(&self) -> Elements<'_> {
        // SAFETY: every pattern of bits is a valid f32, f16 and bf16.
        unsafe {
            match self.dtype {
                DType::F32 => Elements::F32(whole(self.bytes.align_to())),
                DType::F16 => Elements::F16(whole(self.bytes.align_to())),
                DType::BF16 => Elements::BF16(whole(self.bytes.align_to())),
            }
        }
    }

    fn checked(bytes: Bytes, dtype: DType, shape: Vec<usize>) -> Result<Self, Error> {
        let shape = checked_shape(shape, dtype, bytes.len())?;
        Ok(Self { bytes, dtype, shape })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}, {:?})", self.dtype, self.shape)
    }
}

/// The shape, if elements of the dtype in it are so many bytes.
pub(crate) fn checked_shape(
    shape: Vec<usize>,
    dtype: DType,
    found_bytes: usize,
) -> Result<Arc<[usize]>, Error> {
    let multiply = |product: usize, &size: &usize| product.checked_mul(size);
    match shape.iter().try_fold(dtype.bytes(), multiply) {
        Some(needed_bytes) if needed_bytes == found_bytes => Ok(shape.into()),
        _ => Err(Error::Length { shape, dtype, found_bytes }),
    }
}

fn is_aligned(bytes: &[u8], dtype: DType) -> bool {
    (bytes.as_ptr() as usize).is_multiple_of(dtype.bytes())
}

fn whole<'a, T>((before, elements, after): (&'a [u8], &'a [T], &'a [u8])) -> &'a [T] {
    assert!(before.is_empty() && after.is_empty(), "the constructor checked alignment and length");
    elements
}

/// Bytes that start where any element may.
struct Aligned {
    words: Vec<u64>,
    bytes: usize,
}

impl Aligned {
    fn copy(bytes: &[u8]) -> Bytes {
        let word = |chunk: &[u8]| {
            let mut word = [0; size_of::<u64>()];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        let words = bytes.chunks(size_of::<u64>()).map(word).collect();
        Bytes::from_owner(Self { words, bytes: bytes.len() })
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a u64 is eight valid bytes, without padding.
        let (_, bytes, _) = unsafe { self.words.align_to() };
        &bytes[..self.bytes]
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::Arena;

    #[test]
    fn a_region_becomes_a_tensor_in_place() {
        let mut regions = Arena::new(64).unwrap().carve(&[4..16, 16..22, 23..31]).unwrap();
        let [odd, halves, floats] = [(); 3].map(|()| regions.pop().unwrap());
        let (mut floats, mut halves) = (floats, halves);
        floats.as_mut().copy_from_slice(&[1.0_f32, -2.5, 3.25].map(f32::to_le_bytes).concat());
        let address = floats.as_ref().as_ptr();
        let tensor = Tensor::from_region(floats, DType::F32, vec![3, 1]).unwrap();
        assert_eq!(tensor.bytes().as_ptr(), address);
        assert_eq!(tensor.shape(), [3, 1]);
        assert_eq!(tensor.elements(), Elements::F32(&[1.0, -2.5, 3.25]));

        let values = [0.5, 2.0, -1.0].map(|value| f16::from_f32(value).to_le_bytes());
        halves.as_mut().copy_from_slice(&values.concat());
        let tensor = Tensor::from_region(halves, DType::F16, vec![3]).unwrap();
        let expected = [0.5, 2.0, -1.0].map(f16::from_f32);
        assert_eq!(tensor.elements(), Elements::F16(&expected));

        let error = Tensor::from_region(odd, DType::BF16, vec![4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "offset 23 of an arena is not aligned to the 2 bytes of BF16"
        );
    }

    #[test]
    fn bytes_are_copied_only_where_they_are_misaligned() {
        let values = [1.5_f32, -0.25, 1e30];
        let mut file = vec![0; 4];
        file.extend(values.map(f32::to_le_bytes).concat());
        file.push(0);
        let words = Aligned::copy(&file);
        let there = words.slice(4..16);
        let address = there.as_ptr();
        let tensor = Tensor::from_bytes(there, DType::F32, vec![3]).unwrap();
        assert_eq!(tensor.bytes().as_ptr(), address);

        file.insert(0, 0);
        let shifted = Aligned::copy(&file).slice(5..17);
        let address = shifted.as_ptr();
        let copied = Tensor::from_bytes(shifted, DType::F32, vec![3]).unwrap();
        assert_ne!(copied.bytes().as_ptr(), address);
        assert_eq!(copied.elements(), tensor.elements());
        assert_eq!(copied.elements(), Elements::F32(&values));
    }

    #[test]
    fn a_shape_must_match_the_bytes() {
        let tensor = |shape| Tensor::from_bytes(Bytes::from_static(&[0; 12]), DType::BF16, shape);
        assert_eq!(tensor(vec![2, 3]).unwrap().elements(), Elements::BF16(&[bf16::ZERO; 6]));
        assert!(matches!(tensor(vec![7]), Err(Error::Length { found_bytes: 12, .. })));
        assert!(matches!(tensor(vec![usize::MAX, 4]), Err(Error::Length { .. })));
        assert!(matches!(tensor(vec![]), Err(Error::Length { .. })));
    }
}
