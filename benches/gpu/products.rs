//! Products of rows with weights, as models have them: each is checked against the CPU, then timed beside its limit.

use std::sync::Arc;

use firstlight_device::{Cpu, Device, Error, Linear, Team, Tensor};

use super::bench::{Bench, Result};
use super::inputs::{self, Pool};
use super::record::Recorder;
use super::sections::{ERROR, PRODUCTS, count, matrix_name};
use super::sizes::{Model, Sizes};

/// One launch of the decoder.
struct Product {
    name: String,
    /// Of each weight.
    outputs: Vec<usize>,
    inputs: usize,
    /// The first of two weights is a gate.
    gated: bool,
}

pub(crate) fn measure(bench: &Bench<'_>, recorder: &mut Recorder) -> Result<()> {
    let limits = [bench.copy_rate()?, bench.matrix_rate()?];
    for product in products(bench.sizes) {
        Measured::new(bench, &product)?.measure(&limits, recorder)?;
    }
    Ok(())
}

fn products(sizes: &Sizes) -> Vec<Product> {
    let plain = sizes.matrices.iter().map(|&(outputs, inputs)| Product {
        name: matrix_name((outputs, inputs)),
        outputs: vec![outputs],
        inputs,
        gated: false,
    });
    sizes.models.iter().flat_map(of_model).chain(plain).collect()
}

fn of_model(model: &Model) -> [Product; 5] {
    let spec = model.spec();
    let (hidden, inner, kv) = (spec.hidden_size, spec.intermediate_size, spec.kv_size());
    let shapes = [
        (vec![spec.query_size(), kv, kv], hidden),
        (vec![hidden], spec.query_size()),
        (vec![inner, inner], hidden),
        (vec![hidden], inner),
        (vec![spec.vocab_size], hidden),
    ];
    let mut names = PRODUCTS.into_iter();
    shapes.map(|(outputs, inputs)| {
        let name = names.next().expect("a name for each");
        let gated = name == "gate and up";
        Product { name: format!("{} {name}", model.name), outputs, inputs, gated }
    })
}

impl Product {
    /// Numbers of all weights.
    fn weights(&self) -> usize {
        self.outputs.iter().sum::<usize>() * self.inputs
    }

    fn tensors(&self, pool: &Pool, number: usize) -> Vec<Tensor> {
        let tensor = |&outputs: &usize| pool.tensor(&[outputs, self.inputs], number);
        self.outputs.iter().map(tensor).collect()
    }

    /// What the product of so many rows is written to.
    fn outs<D: Device>(
        &self,
        device: &D,
        rows: usize,
    ) -> std::result::Result<Vec<D::Activations>, Error> {
        let outputs = if self.gated { &self.outputs[..1] } else { &self.outputs };
        outputs.iter().map(|&outputs| device.activations(rows, outputs)).collect()
    }

    fn run<D: Device>(
        &self,
        device: &D,
        x: &D::Activations,
        weights: &[D::Tensor],
        outs: &mut [D::Activations],
    ) -> std::result::Result<(), Error> {
        let linear = |weight| Linear { weight, bias: None };
        if self.gated {
            return device.gated(x, linear(&weights[0]), linear(&weights[1]), &mut outs[0]);
        }
        let mut products: Vec<_> = weights.iter().map(linear).zip(outs).collect();
        device.linear_all(x, &mut products)
    }

    fn read<D: Device>(
        device: &D,
        outs: &[D::Activations],
    ) -> std::result::Result<Vec<Vec<f32>>, Error> {
        outs.iter().map(|out| device.read(out)).collect()
    }
}

/// A product whose weights are on the device, often enough that none is in a cache when its turn comes.
struct Measured<'a> {
    bench: &'a Bench<'a>,
    product: &'a Product,
    /// Different rows, which more rows repeat.
    table: Tensor,
    sets: Vec<Vec<<firstlight_device::Cuda as Device>::Tensor>>,
    /// Of the CPU, for the rows of the table and the first set.
    expected: Vec<Vec<f32>>,
    worst: f64,
}

impl<'a> Measured<'a> {
    fn new(bench: &'a Bench<'a>, product: &'a Product) -> Result<Self> {
        let largest = product.outputs.iter().max().expect("a weight") * product.inputs;
        let pool = Pool::new(2 * largest.max(TABLE_ROWS * product.inputs));
        let table = pool.tensor(&[TABLE_ROWS, product.inputs], 5);
        let count = bench.sizes.pool_bytes.div_ceil(2 * product.weights()).clamp(2, MOST_SETS);
        let set = |number| {
            let tensors = product.tensors(&pool, number);
            tensors.iter().map(|tensor| bench.cuda.upload(tensor)).collect()
        };
        let sets = (0..count).map(set).collect::<std::result::Result<_, _>>()?;
        let expected = on_the_cpu(product, &product.tensors(&pool, 0), &table)?;
        Ok(Self { bench, product, table, sets, expected, worst: 0.0 })
    }

    fn measure(mut self, [copy, matrix]: &[f64; 2], recorder: &mut Recorder) -> Result<()> {
        let sizes = self.bench.sizes;
        let weights = self.product.weights() as f64;
        for &rows in &sizes.gemv_rows {
            let seconds = self.time(rows)?;
            let place = [&self.product.name, &*count(rows, "row")];
            recorder.figure("gemv", place, 2.0 * weights / seconds / 1e9, Some(copy / 1e9))?;
        }
        self.tell_error("gemv", recorder)?;
        for &rows in &sizes.gemm_rows {
            let flop = 2.0 * rows as f64 * weights;
            let seconds = self.time(rows)?;
            let place = [&self.product.name, &*count(rows, "row")];
            recorder.figure("gemm", place, flop / seconds / 1e12, Some(matrix / 1e12))?;
        }
        self.tell_error("gemm", recorder)
    }

    fn tell_error(&mut self, section: &str, recorder: &mut Recorder) -> Result<()> {
        recorder.figure(section, [&self.product.name, ERROR], self.worst, None)?;
        self.worst = 0.0;
        Ok(())
    }

    /// Seconds; nothing is timed that is wrong.
    fn time(&mut self, rows: usize) -> Result<f64> {
        let Self { bench, product, table, sets, .. } = self;
        let device = bench.cuda;
        let x = inputs::rows(device, table, rows)?;
        let mut outs = product.outs(device, rows)?;
        product.run(device, &x, &sets[0], &mut outs)?;
        let found = Product::read(device, &outs)?;
        let errors = found.iter().zip(&self.expected).map(|(a, b)| inputs::error(a, b));
        let error = errors.fold(0.0, f64::max);
        if error > BOUND {
            let name = &product.name;
            return Err(format!("{name}, {rows} rows: an error of {error:e}").into());
        }
        self.worst = self.worst.max(error);
        let took =
            bench.time(|turn| product.run(device, &x, &sets[turn % sets.len()], &mut outs))?;
        Ok(took.as_secs_f64())
    }
}

fn on_the_cpu(product: &Product, weights: &[Tensor], table: &Tensor) -> Result<Vec<Vec<f32>>> {
    let cpu = Cpu::new();
    Arc::new(Team::new(Team::default_threads())).enter(|| {
        let x = inputs::rows(&cpu, table, TABLE_ROWS)?;
        let mut outs = product.outs(&cpu, TABLE_ROWS)?;
        product.run(&cpu, &x, weights, &mut outs)?;
        Ok(Product::read(&cpu, &outs)?)
    })
}

/// Every tile of a product has some of them.
const TABLE_ROWS: usize = 16;

/// Weights of which there are so many are in no cache.
const MOST_SETS: usize = 64;

/// Beside the largest number: sums of thousands in f32, in two orders.
const BOUND: f64 = 1e-3;
