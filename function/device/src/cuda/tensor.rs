//! A region of the device with a dtype and a shape.

use std::fmt;
use std::sync::Arc;

use super::arena::{ALIGN_BYTES, Region};
use super::memory::Address;
use crate::tensor::checked_shape;
use crate::{DType, Error, shapes};

/// Immutable numbers in row-major order, in the memory of the device. Cheap to clone.
///
/// The region is filled by work that was issued before; whoever uses the tensor in another stream has that stream
/// [wait](super::Cuda::wait_for) first.
#[derive(Clone)]
pub struct Tensor {
    /// Of as many bytes as the shape asks for, aligned for every kernel: `from_region` is the only constructor.
    region: Arc<Region>,
    dtype: DType,
    shape: Arc<[usize]>,
}

impl Tensor {
    /// A region as a tensor, in place. It must start on a multiple of [`ALIGN_BYTES`].
    pub fn from_region(region: Region, dtype: DType, shape: Vec<usize>) -> Result<Self, Error> {
        if !region.address().is_multiple_of(ALIGN_BYTES) {
            return Err(Error::MisalignedOnDevice { offset: region.range().start });
        }
        let bytes = usize::try_from(region.len()).unwrap_or(usize::MAX);
        let shape = checked_shape(shape, dtype, bytes)?;
        Ok(Self { region: Arc::new(region), dtype, shape })
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

    /// How many elements.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// `(rows, columns)`
    pub(super) fn matrix_shape(&self) -> (usize, usize) {
        shapes::matrix(&self.shape)
    }

    pub(super) fn start(&self) -> Address {
        self.region.address()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}, {:?})", self.dtype, self.shape)
    }
}
