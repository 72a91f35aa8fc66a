//! Where the bytes of a plan land, on their way to be tensors.

use std::future::Future;
use std::sync::Arc;

use firstlight_device::arena::Extent;
use firstlight_device::{Arena, DType, Error as DeviceError, Region};
use firstlight_plan::Fetch;

use crate::Error;
use crate::files::Blocks;

/// A fetch that has landed.
pub(crate) struct Landed<L: Landing> {
    /// One for each place of the fetch.
    pub(crate) regions: Vec<Region<L::Memory>>,
    /// When they are filled.
    pub(crate) filled: L::Filled,
}

/// An arena, and the way into it. Who fetches what, and in which order, is the same for all.
pub(crate) trait Landing: Send + Sync + Sized + 'static {
    /// What the arena is made of.
    type Memory: Extent + Send + Sync + 'static;
    /// A region with a type and a shape.
    type Tensor: Send + 'static;
    /// What a fetch needs to begin.
    type Room: Send;
    /// The memory that one fetch is received into.
    type Sink: Blocks;
    /// When the regions of a fetch are filled, as far as it is known when it has landed.
    type Filled: Send + 'static;
    /// Where the arithmetic waits for that. Whoever holds it keeps nothing of the way that the bytes came.
    type Gate: Send + 'static;

    /// Whether what has landed is where the arithmetic reads it.
    const IS_RESIDENT: bool;

    /// What all tensors lie in.
    fn arena(&self) -> &Arc<Arena<Self::Memory>>;

    /// Waits until another fetch may begin.
    fn room(&self) -> impl Future<Output = Result<Self::Room, Error>> + Send;

    /// The memory for `fetch`, which is to fill `regions`.
    fn sink(
        &self,
        fetch: &Fetch,
        regions: Vec<Region<Self::Memory>>,
        room: Self::Room,
    ) -> Self::Sink;

    /// All bytes of `fetch` are in its sink. What fails later is `failed`.
    fn land(
        &self,
        fetch: &Fetch,
        sink: Self::Sink,
        failed: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Landed<Self>, Error>;

    /// For whoever hands the tensors over.
    fn gate(&self) -> Self::Gate;

    /// From here on the arithmetic may use all that these fetches have filled.
    fn admit(gate: &Self::Gate, filled: Vec<Self::Filled>) -> Result<(), Error>;

    /// A whole region as a tensor.
    fn tensor(
        region: Region<Self::Memory>,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<Self::Tensor, DeviceError>;
}
