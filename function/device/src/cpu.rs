//! The operations, by `firstlight-kernels`.
//!
//! They run on the threads of the caller's [`Team`](kernels::Team), itself among them, and are done when they
//! return.

mod activations;
mod kv_cache;
mod positions;

use std::ops::Range;

use firstlight_kernels::{self as kernels, Attend, Elements, Gelu, Isa, Matrix, Product};

pub use self::activations::Activations;
pub use self::kv_cache::KvCache;
pub use self::positions::Positions;
use crate::{Device, Draw, Error, Linear, Mask, Norm, Span, Tensor, shapes};

/// The processor that runs this program, with the fastest of its instruction sets.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    isa: Isa,
}

impl Cpu {
    /// With the fastest instruction set.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Isa::best())
    }

    /// With one instruction set.
    #[must_use]
    pub fn with(isa: Isa) -> Self {
        Self { isa }
    }

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Cpu {
    type Tensor = Tensor;
    type Activations = Activations;
    type KvCache = KvCache;
    type Positions = Positions;

    fn upload(&self, tensor: &Tensor) -> Result<Tensor, Error> {
        Ok(tensor.clone())
    }

    fn activations(&self, rows: usize, columns: usize) -> Result<Activations, Error> {
        Activations::new(rows, columns)
    }

    fn kv_cache(&self, blocks: usize, kv_heads: usize, head_dim: usize) -> Result<KvCache, Error> {
        KvCache::new(blocks, kv_heads, head_dim)
    }

    fn positions(
        &self,
        rows: usize,
        blocks: usize,
        inverse_frequencies: &[f32],
    ) -> Result<Positions, Error> {
        Positions::new(rows, blocks, inverse_frequencies)
    }

    fn set_rows(&self, x: &mut Activations, rows: usize) {
        x.set_rows(rows);
    }

    fn embed(&self, table: &Tensor, rows: &[u32], out: &mut Activations) -> Result<(), Error> {
        let (count, columns) = shapes::matrix(table.shape());
        assert_eq!(out.shape(), (rows.len(), columns), "shape of the embedded rows");
        for (&row, out) in rows.iter().zip(out.as_mut_slice().chunks_exact_mut(columns)) {
            let row = row as usize;
            assert!(row < count, "row {row} of a table of {count} rows");
            kernels::widen(
                self.isa,
                table.elements().slice(row * columns..(row + 1) * columns),
                out,
            );
        }
        Ok(())
    }

    fn rms_norm(
        &self,
        x: &Activations,
        weight: &Tensor,
        eps: f32,
        out: &mut Activations,
    ) -> Result<(), Error> {
        check_norm(x, weight);
        assert_eq!(out.shape(), x.shape(), "shape of the normalised rows");
        kernels::rms_norm(self.isa, x.as_slice(), weight.elements(), eps, out.as_mut_slice());
        Ok(())
    }

    fn rms_norm_in_place(
        &self,
        x: &mut Activations,
        weight: &Tensor,
        eps: f32,
    ) -> Result<(), Error> {
        check_norm(x, weight);
        kernels::rms_norm_in_place(self.isa, x.as_mut_slice(), weight.elements(), eps);
        Ok(())
    }

    fn layer_norm(&self, x: &mut Activations, by: Norm<'_, Tensor>, eps: f32) -> Result<(), Error> {
        let (weight, bias) = (by.weight.elements(), by.bias.elements());
        shapes::check_norm(x.shape(), weight.len(), bias.len());
        kernels::layer_norm(self.isa, x.as_mut_slice(), weight, bias, eps);
        Ok(())
    }

    fn add(&self, x: &mut Activations, y: &Activations) -> Result<(), Error> {
        assert_eq!(x.shape(), y.shape(), "shapes of the two summands");
        kernels::add(x.as_mut_slice(), y.as_slice());
        Ok(())
    }

    fn linear(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        out: &mut Activations,
    ) -> Result<(), Error> {
        let (matrix, bias) = weights(x, &by, out);
        kernels::linear(self.isa, x.as_slice(), matrix, bias, out.as_mut_slice());
        Ok(())
    }

    fn linear_all(
        &self,
        x: &Activations,
        products: &mut [(Linear<'_, Tensor>, &mut Activations)],
    ) -> Result<(), Error> {
        let products = products.iter_mut().map(|(by, out)| {
            let (weight, bias) = weights(x, by, out);
            Product { weight, bias, out: out.as_mut_slice() }
        });
        let mut products: Vec<_> = products.collect();
        kernels::linear_all(self.isa, x.as_slice(), &mut products);
        Ok(())
    }

    fn linear_add(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        out: &mut Activations,
    ) -> Result<(), Error> {
        let (matrix, bias) = weights(x, &by, out);
        kernels::linear_add(self.isa, x.as_slice(), matrix, bias, out.as_mut_slice());
        Ok(())
    }

    fn gated(
        &self,
        x: &Activations,
        gate: Linear<'_, Tensor>,
        up: Linear<'_, Tensor>,
        out: &mut Activations,
    ) -> Result<(), Error> {
        let (gate, up) = (weights(x, &gate, out), weights(x, &up, out));
        kernels::gated(self.isa, x.as_slice(), gate, up, out.as_mut_slice());
        Ok(())
    }

    fn linear_gelu(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        form: Gelu,
        out: &mut Activations,
    ) -> Result<(), Error> {
        self.linear(x, by, out)?;
        kernels::gelu(self.isa, out.as_mut_slice(), form);
        Ok(())
    }

    fn set_positions(&self, positions: &mut Positions, spans: &[Span<'_>]) -> Result<(), Error> {
        positions.set(spans);
        Ok(())
    }

    fn rope(&self, x: &mut Activations, positions: &Positions) -> Result<(), Error> {
        let ((rows, columns), turns) = (x.shape(), positions.turns());
        assert_eq!(rows, turns.shape().0, "rows of the positions");
        kernels::rope(self.isa, x.as_mut_slice(), columns, turns.as_slice(), turns.shape().1);
        Ok(())
    }

    fn append(
        &self,
        keys: &Activations,
        values: &Activations,
        positions: &Positions,
        cache: &mut KvCache,
    ) -> Result<(), Error> {
        cache.put(keys, values, positions);
        Ok(())
    }

    fn attention(
        &self,
        queries: &Activations,
        cache: &KvCache,
        positions: &Positions,
        scale: f32,
        mask: Mask,
        out: &mut Activations,
    ) -> Result<(), Error> {
        let (rows, columns) = queries.shape();
        assert_eq!(rows, positions.rows(), "rows of the positions");
        let view = cache.view(positions);
        let head_dim = view.layout.head_dim;
        shapes::check_heads(columns, head_dim);
        assert_eq!(out.shape(), queries.shape(), "shape of what was attended to");
        let attend = Attend { heads: columns / head_dim, scale, mask };
        let spans: Vec<_> = positions.spans().collect();
        kernels::attention(self.isa, queries.as_slice(), view, &spans, attend, out.as_mut_slice());
        Ok(())
    }

    fn copy_rows(
        &self,
        x: &Activations,
        rows: Range<usize>,
        out: &mut Activations,
        to: usize,
    ) -> Result<(), Error> {
        shapes::check_rows(x.shape(), &rows, out.shape(), to);
        let (_, columns) = x.shape();
        let out = &mut out.as_mut_slice()[to * columns..][..rows.len() * columns];
        out.copy_from_slice(&x.as_slice()[rows.start * columns..rows.end * columns]);
        Ok(())
    }

    fn draw(
        &self,
        logits: &Activations,
        draws: &[Option<Draw>],
    ) -> Result<Vec<Option<u32>>, Error> {
        let (rows, columns) = logits.shape();
        assert!(draws.len() <= rows, "a draw of each row, at most");
        let is_greedy = |draw: &Option<Draw>| draw.is_some_and(|draw| draw.is_greedy());
        let rows = logits.as_slice().chunks_exact(columns).zip(draws);
        let rows: Vec<_> =
            rows.filter(|(_, draw)| is_greedy(draw)).map(|(logits, _)| logits).collect();
        let mut chosen = kernels::argmax(self.isa, &rows).into_iter();
        let token = |draw: &Option<Draw>| {
            let index = if is_greedy(draw) { chosen.next().flatten() } else { None };
            index.map(|index| u32::try_from(index).expect("tokens are numbered by 32 bits"))
        };
        Ok(draws.iter().map(token).collect())
    }

    fn read(&self, x: &Activations) -> Result<Vec<f32>, Error> {
        Ok(x.as_slice().to_vec())
    }
}

/// What `by` is to the kernels, if it makes `out` of `x`.
fn weights<'a>(
    x: &Activations,
    by: &Linear<'a, Tensor>,
    out: &Activations,
) -> (Matrix<'a>, Option<Elements<'a>>) {
    let (outputs, inputs) = shapes::matrix(by.weight.shape());
    shapes::check_product(x.shape(), (outputs, inputs), out.shape());
    let matrix = Matrix::new(by.weight.elements(), outputs, inputs);
    (matrix, by.bias.map(Tensor::elements))
}

fn check_norm(x: &Activations, weight: &Tensor) {
    let (_, columns) = x.shape();
    let run = weight.elements().len();
    shapes::check_runs(columns, run);
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::contract::device_tests!(Isa::available().into_iter().map(Cpu::with));

    fn table(rows: usize, columns: usize) -> Tensor {
        let bytes = vec![0; rows * columns * 2].into();
        Tensor::from_bytes(bytes, crate::DType::BF16, vec![rows, columns]).unwrap()
    }

    #[test]
    #[should_panic(expected = "row 4 of a table of 4 rows")]
    fn an_index_past_the_table_panics() {
        let cpu = Cpu::new();
        let mut out = cpu.activations(1, 3).unwrap();
        cpu.embed(&table(4, 3), &[4], &mut out).unwrap();
    }

    fn append_to(blocks: usize, span: Span<'_>) {
        let cpu = Cpu::new();
        let mut cache = cpu.kv_cache(blocks, 1, 8).unwrap();
        let mut positions = cpu.positions(2, 3, &[1.0; 4]).unwrap();
        cpu.set_positions(&mut positions, &[span]).unwrap();
        let x = cpu.activations(span.rows, 8).unwrap();
        cpu.append(&x, &x, &positions, &mut cache).unwrap();
    }

    #[test]
    #[should_panic(expected = "positions up to 65 in 1 blocks of 64")]
    fn more_positions_than_the_blocks_hold_panic() {
        append_to(2, Span { first: 63, rows: 2, blocks: &[0] });
    }

    #[test]
    #[should_panic(expected = "block 2 of 2")]
    fn a_block_past_the_pool_panics() {
        append_to(2, Span { first: 63, rows: 2, blocks: &[2, 0] });
    }

    #[test]
    #[should_panic(expected = "4 blocks in positions made for 3")]
    fn more_blocks_than_there_is_room_for_panic() {
        append_to(4, Span { first: 192, rows: 1, blocks: &[0, 1, 2, 3] });
    }

    #[test]
    #[should_panic(expected = "3 rows in positions made for 2")]
    fn more_rows_than_positions_were_made_for_panic() {
        append_to(2, Span { first: 0, rows: 3, blocks: &[0] });
    }

    #[test]
    #[should_panic(expected = "3 rows in activations made for 2")]
    fn more_rows_than_there_is_room_for_panic() {
        let cpu = Cpu::new();
        cpu.set_rows(&mut cpu.activations(2, 8).unwrap(), 3);
    }

    #[test]
    #[should_panic(expected = "shape of the product")]
    fn a_product_of_another_shape_panics() {
        let cpu = Cpu::new();
        let x = cpu.activations(2, 3).unwrap();
        let weight = &table(4, 3);
        let by = Linear { weight, bias: None };
        cpu.linear(&x, by, &mut cpu.activations(1, 8).unwrap()).unwrap();
    }
}
