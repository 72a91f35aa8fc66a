//! Products with weights: which kernel, for how many rows.
//!
//! Few rows are limited by the bytes of the weights: up to three products of the same rows go in one launch. Many rows
//! go to the matrix units, one product after the other, rounded to the 16 bits of the weights; where those are f32, or
//! rows do not divide into vectors, a plain kernel takes them as they are.

use firstlight_kernels::cuda::linear::{self as kernels, GEMV_ROWS, Product, Then};
use firstlight_kernels::cuda::round;

use super::launch::Arguments;
use super::{Activations, Cuda, NOWHERE, Tensor, format, number};
use crate::{DType, Error, Gelu, Linear, shapes};

impl Cuda {
    /// The products of the same rows; each replaces what is in its out, or is added to it.
    pub(super) fn products(
        &self,
        x: &Activations,
        products: &mut [(Linear<'_, Tensor>, &mut Activations)],
        then: Then,
    ) -> Result<(), Error> {
        if number(x.shape().0) > GEMV_ROWS {
            let each = |(by, out): &mut (Linear<'_, Tensor>, &mut Activations)| {
                self.of_many_rows(x, by.weight.dtype(), product(x, by, out)?, NOWHERE, then)
            };
            return products.iter_mut().try_for_each(each);
        }
        let alike = |a: &(Linear<'_, Tensor>, _), b: &(Linear<'_, Tensor>, _)| {
            a.0.weight.dtype() == b.0.weight.dtype()
        };
        let mut launches =
            products.chunk_by_mut(alike).flat_map(|alike| alike.chunks_mut(MOST_PRODUCTS));
        launches.try_for_each(|together| self.of_few_rows(x, together, then))
    }

    /// The gate, and what it lets through: both replace what is in out.
    pub(super) fn gated_product(
        &self,
        x: &Activations,
        [gate, up]: [Linear<'_, Tensor>; 2],
        out: &mut Activations,
    ) -> Result<(), Error> {
        let dtype = same_dtype(gate.weight, up.weight)?;
        let (gate, up) = (product(x, &gate, out)?, product(x, &up, out)?);
        let (rows, inputs) = (number(x.shape().0), number(x.shape().1));
        if rows > GEMV_ROWS {
            self.of_many_rows(x, dtype, gate, NOWHERE, Then::Set)?;
            self.of_many_rows(x, dtype, up, out.rounded(), Then::Gate)?;
            if kernels::takes_rounded(format(dtype), inputs) {
                out.set_rounded(dtype);
            }
            return Ok(());
        }
        let launch = kernels::gemv_gated(format(dtype), rows, inputs, gate.outputs);
        let arguments =
            Arguments::new().with(x.values()).with(gate).with(up).with(inputs).with(rows);
        self.launch(launch, arguments)
    }

    /// The gelu of a product replaces what is in out.
    pub(super) fn gelu_product(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        form: Gelu,
        out: &mut Activations,
    ) -> Result<(), Error> {
        let (rows, inputs) = (number(x.shape().0), number(x.shape().1));
        if rows <= GEMV_ROWS {
            return self.of_few_rows(x, &mut [(by, out)], form.into());
        }
        let dtype = by.weight.dtype();
        self.of_many_rows(x, dtype, product(x, &by, out)?, out.rounded(), form.into())?;
        if kernels::takes_rounded(format(dtype), inputs) {
            out.set_rounded(dtype);
        }
        Ok(())
    }

    fn of_few_rows(
        &self,
        x: &Activations,
        products: &mut [(Linear<'_, Tensor>, &mut Activations)],
        then: Then,
    ) -> Result<(), Error> {
        let mut all = [Product::default(); MOST_PRODUCTS];
        for (slot, (by, out)) in all.iter_mut().zip(&mut *products) {
            *slot = product(x, by, out)?;
        }
        let outputs = all.map(|product| product.outputs);
        let (rows, inputs) = (number(x.shape().0), number(x.shape().1));
        let dtype = products[0].0.weight.dtype();
        let launch = kernels::gemv(format(dtype), rows, inputs, &outputs[..products.len()]);
        let arguments =
            Arguments::new().with(x.values()).with(all).with(inputs).with(rows).with(then as u32);
        self.launch(launch, arguments)
    }

    /// `rounded` is where the result goes in 16 bits as well, or nowhere.
    fn of_many_rows(
        &self,
        x: &Activations,
        dtype: DType,
        product: Product,
        rounded: u64,
        then: Then,
    ) -> Result<(), Error> {
        let (rows, inputs) = (number(x.shape().0), number(x.shape().1));
        let operands =
            |x| Arguments::new().with(x).with(product.weight).with(product.bias).with(product.out);
        let (launch, arguments) = if kernels::takes_rounded(format(dtype), inputs) {
            self.round(x, dtype)?;
            let launch = kernels::gemm(format(dtype), rows, product.outputs);
            (launch, operands(x.rounded()).with(rounded))
        } else {
            let launch = kernels::gemm_plain(format(dtype), rows, product.outputs);
            (launch, operands(x.values()))
        };
        let arguments = arguments.with(rows).with(product.outputs).with(inputs).with(then as u32);
        self.launch(launch, arguments)
    }

    /// Rounds what was not rounded by whoever made it.
    fn round(&self, x: &Activations, dtype: DType) -> Result<(), Error> {
        if x.is_rounded_to(dtype) {
            return Ok(());
        }
        let count = x.len() as u64;
        let arguments = Arguments::new().with(x.values()).with(x.rounded()).with(count);
        self.launch(round(format(dtype), count), arguments)?;
        x.set_rounded(dtype);
        Ok(())
    }
}

/// What `by` is to the kernels, if it makes `out` of `x`.
fn product(
    x: &Activations,
    by: &Linear<'_, Tensor>,
    out: &mut Activations,
) -> Result<Product, Error> {
    let (outputs, inputs) = by.weight.matrix_shape();
    shapes::check_product(x.shape(), (outputs, inputs), out.shape());
    assert!(by.bias.is_none_or(|bias| bias.len() == outputs), "a bias for each of {outputs}");
    let bias = by.bias.map(|bias| same_dtype(by.weight, bias).map(|_| bias.start())).transpose()?;
    Ok(Product {
        weight: by.weight.start(),
        bias: bias.unwrap_or(NOWHERE),
        out: out.values_mut(),
        outputs: number(outputs),
        padding: 0,
    })
}

/// Kernels take what belongs together in one type.
pub(super) fn same_dtype(first: &Tensor, second: &Tensor) -> Result<DType, Error> {
    if first.dtype() == second.dtype() {
        return Ok(first.dtype());
    }
    Err(Error::MixedDTypes { first: first.dtype(), second: second.dtype() })
}

/// Of one launch.
const MOST_PRODUCTS: usize = 3;
