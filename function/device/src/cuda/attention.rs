//! Attention: which rows go which way.
//!
//! Rows of long spans go to the matrix units, in tiles, where keys and values have 16 bits; the others are limited by the
//! bytes of the keys and values, and share the positions of each among many blocks. A pass may have both.

use firstlight_kernels::cuda::attention::{self as kernels, AttentionShape};
use firstlight_kernels::cuda::linear::GEMV_ROWS;
use firstlight_kernels::cuda::{self as launches};

use super::launch::Arguments;
use super::memory::Address;
use super::{Activations, Cuda, KvCache, NOWHERE, Positions, SCRATCH_BYTES, format, number};
use crate::{DType, Error};

impl Cuda {
    /// Puts the rows of a pass into the cache.
    pub(super) fn put(
        &self,
        keys: &Activations,
        values: &Activations,
        positions: &Positions,
        cache: &mut KvCache,
    ) -> Result<(), Error> {
        let shape = (positions.rows(), cache.kv_heads * cache.head_dim);
        assert_eq!(keys.shape(), shape, "shape of the keys");
        assert_eq!(values.shape(), shape, "shape of the values");
        cache.check(positions);
        let launch = launches::append(format(cache.dtype), number(shape.0), number(shape.1));
        let arguments = Arguments::new()
            .with(keys.values())
            .with(values.values())
            .with(cache.keys())
            .with(cache.values())
            .with(positions.places())
            .with(positions.tables())
            .with(number(cache.kv_heads))
            .with(number(cache.head_dim))
            .with(number(cache.blocks));
        self.launch(launch, arguments)
    }

    /// All rows, each in its way.
    pub(super) fn attend(
        &self,
        queries: &Activations,
        cache: &KvCache,
        positions: &Positions,
        shape: AttentionShape,
        out: &mut Activations,
    ) -> Result<(), Error> {
        cache.check(positions);
        let (rows, tiles) = (number(positions.single_rows()), number(positions.tile_count()));
        let parts = kernels::parts(shape, rows, number(positions.longest()));
        // What comes next is a product of the same rows, which takes few of them as they are.
        let rounds = cache.dtype != DType::F32
            && number(queries.shape().0) > GEMV_ROWS
            && (rows == 0 || parts == 1);
        let rounded = if rounds { out.rounded() } else { NOWHERE };
        if tiles > 0 {
            self.attend_in_tiles(queries, cache, positions, shape, (out, rounded))?;
        }
        if rows > 0 {
            self.attend_in_parts(queries, cache, positions, (shape, parts), (out, rounded))?;
        }
        if rounds {
            out.set_rounded(cache.dtype);
        }
        Ok(())
    }

    fn attend_in_tiles(
        &self,
        queries: &Activations,
        cache: &KvCache,
        positions: &Positions,
        shape: AttentionShape,
        (out, rounded): (&mut Activations, Address),
    ) -> Result<(), Error> {
        let launch = kernels::prefill(format(cache.dtype), shape, number(positions.tile_count()));
        let arguments = Arguments::new()
            .with(queries.values())
            .with(cache.keys())
            .with(cache.values())
            .with(positions.tiles())
            .with(positions.tables())
            .with(out.values_mut())
            .with(rounded)
            .with(shape);
        self.launch(launch, arguments)
    }

    fn attend_in_parts(
        &self,
        queries: &Activations,
        cache: &KvCache,
        positions: &Positions,
        (shape, parts): (AttentionShape, u32),
        (out, rounded): (&mut Activations, Address),
    ) -> Result<(), Error> {
        let rows = number(positions.single_rows());
        let arguments = Arguments::new()
            .with(queries.values())
            .with(cache.keys())
            .with(cache.values())
            .with(positions.places())
            .with(positions.tables())
            .with(self.scratch.start())
            .with(out.values_mut())
            .with(rounded)
            .with(shape);
        self.launch(kernels::decode(format(cache.dtype), shape, rows, parts), arguments)?;
        if parts == 1 {
            return Ok(());
        }
        let numbers = rows * shape.heads * parts * (shape.head_dim + 2);
        assert!(u64::from(numbers) * 4 <= SCRATCH_BYTES, "{numbers} numbers of parts");
        let arguments = Arguments::new()
            .with(self.scratch.start())
            .with(positions.places())
            .with(out.values_mut())
            .with(parts)
            .with(shape.heads)
            .with(shape.head_dim);
        self.launch(kernels::combine(shape, rows), arguments)
    }
}
