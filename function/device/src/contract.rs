//! What every device does: one test body for all of them.
//!
//! Each operation is compared with the f64 reference of `firstlight-kernels`, through the trait
//! alone. A device calls [`device_tests!`](crate::device_tests) in its test module with an iterator
//! over the instances to try.
//!
//! The bounds are those of the CPU, whose sums are short; a device may have some [slack](Held::SLACK), since it adds up
//! in another order. Activations that meet weights are such that no device rounds them.

use std::mem;

use bytes::Bytes;
use firstlight_kernels::reference::check::{Weights, assert_close, numbers};
use firstlight_kernels::reference::{self, PlainCache};
use firstlight_kernels::{Attend, Elements, Matrix};

use crate::{DType, Device, Draw, Error, Gelu, KV_BLOCK, Linear, Mask, Norm, Span, Tensor};

/// A device that is held to the contract.
pub(crate) trait Held: Device {
    /// How many times the error of a CPU it may have.
    const SLACK: f64;

    /// How far its attention may be off, with keys and values as it keeps them.
    fn attention_bound(&self) -> f64 {
        5e-6 * Self::SLACK
    }

    /// [`Device::upload`]
    fn upload(&self, tensor: &Tensor) -> Self::Tensor {
        Device::upload(self, tensor).unwrap()
    }
}

impl Held for crate::Cpu {
    const SLACK: f64 = 1.0;
}

impl Held for crate::Cuda {
    /// On the stand-in the bounds of the CPU hold. A GPU's quotients and powers are off by two units of the last place,
    /// and its matrix units cut off what they add up; by how much was not measured.
    const SLACK: f64 = 4.0;

    /// Rounding takes half a unit of 8 or of 11 bits, of numbers up to 2.
    fn attention_bound(&self) -> f64 {
        match self.cache() {
            DType::F32 => 5e-6 * Self::SLACK,
            DType::F16 => 2.5e-3,
            DType::BF16 => 2e-2,
        }
    }
}

/// Makes each check of the contract a test over the given devices.
macro_rules! device_tests {
    ($devices:expr) => {
        $crate::contract::device_tests!(@each $devices,
            activations_start_as_zeros, rows_can_shrink_and_grow, embed, rms_norm, layer_norm, add,
            linear, linear_all, gated, linear_gelu, rope, append_and_attention,
            attention_far_into_a_context, sequences_beside_each_other, texts_that_see_all_of_themselves, copy_rows,
            unfit_logits_are_left_to_the_host, a_greedy_choice_is_the_first_of_the_likeliest,
            as_one_is_as_one_by_one
        );
    };
    (@each $devices:expr, $($check:ident),+) => {
        $(
            #[test]
            fn $check() {
                $devices.for_each(|device| $crate::contract::$check(&device));
            }
        )+
    };
}
pub(crate) use device_tests;

pub(crate) fn activations_start_as_zeros<D: Held>(device: &D) {
    let x = device.activations(3, 5).unwrap();
    assert_eq!(device.read(&x).unwrap(), [0.0; 15]);
}

pub(crate) fn rows_can_shrink_and_grow<D: Held>(device: &D) {
    let values = numbers(12, 1, 1.0);
    let mut x = matrix(device, &values, 4);
    device.set_rows(&mut x, 2);
    assert_eq!(device.read(&x).unwrap(), values[..8]);
    device.set_rows(&mut x, 3);
    assert_eq!(device.read(&x).unwrap(), values);
}

pub(crate) fn embed<D: Held>(device: &D) {
    let rows = [7, 0, 3, 3, 10];
    for weights in Weights::all(&numbers(11 * 20, 1, 2.0)) {
        let mut out = device.activations(rows.len(), 20).unwrap();
        let table = Held::upload(device, &tensor(&weights, &[11, 20]));
        device.embed(&table, &rows, &mut out).unwrap();
        let entry =
            |row: u32, column| f64::from(weights.elements().get(row as usize * 20 + column));
        let expected: Vec<_> =
            rows.iter().flat_map(|&row| (0..20).map(move |column| entry(row, column))).collect();
        close(device, &out, &expected, 0.0, "embed");
    }
}

pub(crate) fn rms_norm<D: Held>(device: &D) {
    // Beside squares of 3 on average: more than that of any model, so that it is seen where it is left out.
    const EPS: f32 = 0.1;
    for (rows, columns, run) in [(1, 64, 64), (3, 100, 100), (5, 192, 64), (70, 2 * 576, 576)] {
        let values = numbers(rows * columns, 1, 3.0);
        for weights in Weights::all(&numbers(run, 2, 2.0)) {
            let mut x = matrix(device, &values, columns);
            let mut out = device.activations(rows, columns).unwrap();
            let weight = Held::upload(device, &tensor(&weights, &[run]));
            let expected = reference::rms_norm(&values, weights.elements(), EPS);
            device.rms_norm(&x, &weight, EPS, &mut out).unwrap();
            close(device, &out, &expected, 3e-6, "rms_norm");
            device.rms_norm_in_place(&mut x, &weight, EPS).unwrap();
            close(device, &x, &expected, 3e-6, "rms_norm_in_place");
        }
    }
}

/// With an epsilon that counts.
pub(crate) fn layer_norm<D: Held>(device: &D) {
    for (rows, columns) in [(1, 64), (3, 100), (70, 384), (2, 5000)] {
        let values: Vec<_> = numbers(rows * columns, 1, 3.0).iter().map(|x| x + 1.0).collect();
        let biases = Weights::all(&numbers(columns, 3, 1.0));
        for (weights, biases) in Weights::all(&numbers(columns, 2, 2.0)).iter().zip(&biases) {
            let expected =
                reference::layer_norm(&values, weights.elements(), biases.elements(), 0.1);
            let mut x = matrix(device, &values, columns);
            let [weight, bias] =
                [weights, biases].map(|all| Held::upload(device, &tensor(all, &[columns])));
            let by = Norm { weight: &weight, bias: &bias };
            device.layer_norm(&mut x, by, 0.1).unwrap();
            close(device, &x, &expected, 3e-6, "layer_norm");
        }
    }
}

pub(crate) fn add<D: Held>(device: &D) {
    let (x, y) = (numbers(7 * 33, 1, 1.0), numbers(7 * 33, 2, 1.0));
    let expected: Vec<_> = x.iter().zip(&y).map(|(x, y)| f64::from(x + y)).collect();
    let (mut x, y) = (matrix(device, &x, 33), matrix(device, &y, 33));
    device.add(&mut x, &y).unwrap();
    close(device, &x, &expected, 0.0, "add");
}

fn widened(weights: &Weights) -> Vec<f32> {
    let elements = weights.elements();
    (0..elements.len()).map(|index| elements.get(index)).collect()
}

/// Rows, outputs and inputs of products: with and without whole tiles and whole vectors, and with several of each.
const PRODUCTS: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (1, 65, 190),
    (2, 40, 64),
    (5, 65, 190),
    (33, 1, 1),
    (33, 65, 190),
    (64, 128, 256),
    (70, 136, 328),
];

/// Alone, and added to what was there.
pub(crate) fn linear<D: Held>(device: &D) {
    for (rows, outputs, inputs) in PRODUCTS {
        let values = exact(rows * inputs);
        let biases = Weights::all(&numbers(outputs, 3, 1.0));
        for (weights, biases) in
            Weights::all(&numbers(outputs * inputs, 2, 0.2)).iter().zip(&biases)
        {
            let x = matrix(device, &values, inputs);
            let weight = &Held::upload(device, &tensor(weights, &[outputs, inputs]));
            let uploaded = Held::upload(device, &tensor(biases, &[outputs]));
            let plain = Matrix::new(weights.elements(), outputs, inputs);
            for with in [false, true] {
                let bias = with.then_some(&uploaded);
                let plain_bias = with.then_some(biases.elements());
                let expected = reference::linear(&values, rows, plain, plain_bias);
                let mut out = device.activations(rows, outputs).unwrap();
                device.linear(&x, Linear { weight, bias }, &mut out).unwrap();
                close(device, &out, &expected, 3e-6, "linear");

                let before = numbers(rows * outputs, 4, 1.0);
                out = matrix(device, &before, outputs);
                device.linear_add(&x, Linear { weight, bias }, &mut out).unwrap();
                let sums = expected.iter().zip(&before);
                let sums: Vec<_> = sums.map(|(product, &x)| product + f64::from(x)).collect();
                close(device, &out, &sums, 3e-6, "linear_add");
            }
        }
    }
}

/// As many outputs as queries, keys and values of a layer may have, or of two of them; some have a bias.
pub(crate) fn linear_all<D: Held>(device: &D) {
    const INPUTS: usize = 72;
    let cases: [&[(usize, bool)]; 3] =
        [&[(96, true), (40, false), (24, true)], &[(33, false), (64, true)], &[(5, true)]];
    for (rows, outputs) in [1, 3, 40].into_iter().flat_map(|rows| cases.map(|case| (rows, case))) {
        let values = exact(rows * INPUTS);
        let x = matrix(device, &values, INPUTS);
        for dtype in 0..3 {
            let mut expected = Vec::new();
            let mut products: Vec<_> = (10..)
                .zip(outputs)
                .map(|(seed, &(outputs, with))| {
                    let [weight, bias] = [(outputs * INPUTS, 0.2), (outputs, 1.0)]
                        .map(|(count, range)| Weights::all(&numbers(count, seed, range)))
                        .map(|mut all| mem::replace(&mut all[dtype], Weights::F32(Vec::new())));
                    let plain = Matrix::new(weight.elements(), outputs, INPUTS);
                    let plain_bias = with.then_some(bias.elements());
                    expected.push(reference::linear(&values, rows, plain, plain_bias));
                    let weight = Held::upload(device, &tensor(&weight, &[outputs, INPUTS]));
                    let bias = with.then(|| Held::upload(device, &tensor(&bias, &[outputs])));
                    (weight, bias, device.activations(rows, outputs).unwrap())
                })
                .collect();
            let all = products.iter_mut();
            let all = all.map(|(weight, bias, out)| (Linear { weight, bias: bias.as_ref() }, out));
            device.linear_all(&x, &mut all.collect::<Vec<_>>()).unwrap();
            for ((_, _, out), expected) in products.iter().zip(&expected) {
                close(device, out, expected, 3e-6, "linear_all");
            }
        }
    }
}

pub(crate) fn gated<D: Held>(device: &D) {
    for (rows, outputs, inputs) in PRODUCTS {
        let values = exact(rows * inputs);
        let x = matrix(device, &values, inputs);
        let gates = Weights::all(&numbers(outputs * inputs, 1, 0.5));
        let ups = Weights::all(&numbers(outputs * inputs, 2, 0.2));
        let biases = Weights::all(&numbers(outputs, 3, 1.0));
        for ((gate, up), bias) in gates.iter().zip(&ups).zip(&biases) {
            let product = |weights: &Weights, bias| {
                let plain = Matrix::new(weights.elements(), outputs, inputs);
                reference::linear(&values, rows, plain, bias)
            };
            let gates = product(gate, Some(bias.elements()));
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let both = gates.into_iter().zip(product(up, None));
            let expected: Vec<_> = both.map(|(gate, up)| silu(gate) * up).collect();
            let [gate, up] =
                [gate, up].map(|w| Held::upload(device, &tensor(w, &[outputs, inputs])));
            let bias = Held::upload(device, &tensor(bias, &[outputs]));
            let gate = Linear { weight: &gate, bias: Some(&bias) };
            let mut out = device.activations(rows, outputs).unwrap();
            device.gated(&x, gate, Linear { weight: &up, bias: None }, &mut out).unwrap();
            close(device, &out, &expected, 6e-6, "gated");
        }
    }
}

/// Whatever was in `out` before.
pub(crate) fn linear_gelu<D: Held>(device: &D) {
    for (rows, outputs, inputs) in PRODUCTS {
        let values = exact(rows * inputs);
        let x = matrix(device, &values, inputs);
        let biases = Weights::all(&numbers(outputs, 3, 1.0));
        let all = Weights::all(&numbers(outputs * inputs, 2, 0.2));
        for ((weights, biases), form) in
            all.iter().zip(&biases).zip([Gelu::Exact, Gelu::Tanh, Gelu::Exact])
        {
            let plain = Matrix::new(weights.elements(), outputs, inputs);
            let product = reference::linear(&values, rows, plain, Some(biases.elements()));
            #[expect(clippy::cast_possible_truncation, reason = "its error is that of a product")]
            let product: Vec<_> = product.into_iter().map(|x| x as f32).collect();
            let expected = reference::gelu(&product, form);
            let weight = &Held::upload(device, &tensor(weights, &[outputs, inputs]));
            let bias = Some(&Held::upload(device, &tensor(biases, &[outputs])));
            let mut out = matrix(device, &numbers(rows * outputs, 4, 1.0), outputs);
            device.linear_gelu(&x, Linear { weight, bias }, form, &mut out).unwrap();
            close(device, &out, &expected, 6e-6, "linear_gelu");
        }
    }
}

fn close<D: Held>(device: &D, x: &D::Activations, expected: &[f64], bound: f64, what: &str) {
    assert_close(&device.read(x).unwrap(), expected, bound * D::SLACK, what);
}

/// Numbers that processors which multiply bf16 do not round.
fn exact(count: usize) -> Vec<f32> {
    let [_, _, rounded] = Weights::all(&numbers(count, 1, 1.0));
    widened(&rounded)
}

/// Two sequences, at different positions.
pub(crate) fn rope<D: Held>(device: &D) {
    for head_dim in [16, 64, 128] {
        let frequencies: Vec<_> =
            (0..head_dim / 2).map(|i| 1e4_f32.powf(-2.0 * i as f32 / head_dim as f32)).collect();
        let columns = 3 * head_dim;
        let values = numbers(5 * columns, 1, 2.0);
        let mut x = matrix(device, &values, columns);
        let mut positions = device.positions(6, 32, &frequencies).unwrap();
        let spans = [
            Span { first: 1234, rows: 4, blocks: &[0; 20] },
            Span { first: 7, rows: 1, blocks: &[1] },
        ];
        device.set_positions(&mut positions, &spans).unwrap();
        device.rope(&mut x, &positions).unwrap();
        let (first, second) = values.split_at(4 * columns);
        let mut expected = reference::rope(first, columns, &frequencies, 1234);
        expected.extend(reference::rope(second, columns, &frequencies, 7));
        close(device, &x, &expected, 2e-6, "rope");
    }
}

/// A prompt, a second one, and some tokens: each sees all before it, or as many as the window is
/// wide.
pub(crate) fn append_and_attention<D: Held>(device: &D) {
    for (kv_heads, group, head_dim, window) in [
        (1, 1, 16, None),
        (1, 1, 16, Some(1)),
        (2, 3, 64, None),
        (2, 3, 64, Some(33)),
        (2, 2, 80, Some(33)),
        (1, 4, 96, None),
        (1, 5, 128, None),
        (1, 5, 128, Some(33)),
        (1, 1, 256, None),
    ] {
        let shape = Shape { kv_heads, group, head_dim, mask: window.into() };
        shape.check(device, &[0], &[&[(0, 70)], &[(0, 37)], &[(0, 1)], &[(0, 1)], &[(0, 1)]]);
    }
}

/// Few rows see so many positions that a device will split them.
pub(crate) fn attention_far_into_a_context<D: Held>(device: &D) {
    for (kv_heads, group, head_dim) in [(2, 4, 64), (1, 3, 128)] {
        for window in [None, Some(400)] {
            let shape = Shape { kv_heads, group, head_dim, mask: window.into() };
            shape.check(device, &[1100], &[&[(0, 1)], &[(0, 3)], &[(0, 1)]]);
        }
    }
}

/// Each row sees all rows of its text, and nothing of the others; also behind what is held.
pub(crate) fn texts_that_see_all_of_themselves<D: Held>(device: &D) {
    for (kv_heads, group, head_dim) in [(2, 1, 16), (3, 1, 32), (1, 2, 64), (1, 1, 128)] {
        let shape = Shape { kv_heads, group, head_dim, mask: Mask::Full };
        shape.check(
            device,
            &[0, 0, 70, 0, 0],
            &[&[(0, 7), (1, 1), (2, 66), (3, 3), (4, 150)], &[(0, 5)], &[(2, 1), (1, 90)]],
        );
    }
}

/// Prompts and tokens of several sequences in one pass, near the beginning and far from it.
pub(crate) fn sequences_beside_each_other<D: Held>(device: &D) {
    for (kv_heads, group, head_dim, window) in
        [(2, 3, 64, None), (1, 2, 128, Some(70)), (1, 1, 256, None)]
    {
        let shape = Shape { kv_heads, group, head_dim, mask: window.into() };
        shape.check(
            device,
            &[0, 130, 64, 1, 400],
            &[&[(0, 20), (1, 1), (2, 5), (3, 66), (4, 1)], &[(3, 1), (0, 1), (4, 1), (1, 9)]],
        );
    }
}

/// The shape of an attention.
struct Shape {
    kv_heads: usize,
    /// Heads that ask the same keys.
    group: usize,
    head_dim: usize,
    mask: Mask,
}

/// What is known of one sequence.
struct Sequence {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Anywhere in the pool.
    blocks: Vec<u32>,
    /// Positions that the cache holds.
    held: usize,
}

/// The number of a sequence, and how many rows it has in a pass.
type Part = (usize, usize);

impl Shape {
    /// Sequences of which so many positions are held, and passes over some of them.
    fn check<D: Held>(&self, device: &D, held: &[usize], passes: &[&[Part]]) {
        let mut sequences = self.sequences(held, passes);
        let blocks = sequences.iter().map(|sequence| sequence.blocks.len()).sum();
        let mut cache = device.kv_cache(blocks, self.kv_heads, self.head_dim).unwrap();
        let begun: Vec<_> =
            held.iter().copied().enumerate().filter(|(_, held)| *held > 0).collect();
        if !begun.is_empty() {
            self.append(device, &mut sequences, &begun, &mut cache);
        }
        for (seed, &parts) in (3..).zip(passes) {
            let positions = self.append(device, &mut sequences, parts, &mut cache);
            let columns = self.kv_heads * self.group * self.head_dim;
            let rows: usize = parts.iter().map(|(_, rows)| rows).sum();
            let queries = numbers(rows * columns, seed, 2.0);
            let expected = self.expected(&sequences, parts, &queries);
            let queries = matrix(device, &queries, columns);
            let mut out = device.activations(rows, columns).unwrap();
            let (scale, mask) = (self.scale(), self.mask);
            device.attention(&queries, &cache, &positions, scale, mask, &mut out).unwrap();
            let (found, bound) = (device.read(&out).unwrap(), device.attention_bound());
            assert_close(&found, &expected, bound, "attention");
        }
    }

    /// With numbers for all positions that they will have, and blocks that lie crosswise.
    fn sequences(&self, held: &[usize], passes: &[&[Part]]) -> Vec<Sequence> {
        let columns = self.kv_heads * self.head_dim;
        let parts = || passes.iter().copied().flatten();
        let sequence = |(index, held): (usize, usize)| {
            let rows: usize = parts().filter(|part| part.0 == index).map(|part| part.1).sum();
            let count = (held + rows) * columns;
            let seed = 100 + 2 * index as u64;
            let [keys, values] = [seed, seed + 1].map(|seed| numbers(count, seed, 2.0));
            (keys, values, (held + rows).div_ceil(KV_BLOCK))
        };
        let made: Vec<_> = held.iter().copied().enumerate().map(sequence).collect();
        let mut free =
            0..u32::try_from(made.iter().map(|(.., blocks)| blocks).sum::<usize>()).unwrap();
        let mut sequences: Vec<_> = made
            .into_iter()
            .map(|(keys, values, _)| Sequence { keys, values, blocks: Vec::new(), held: 0 })
            .collect();
        while !free.is_empty() {
            for Sequence { keys, blocks, .. } in &mut sequences {
                if blocks.len() * KV_BLOCK * columns < keys.len() {
                    blocks.extend(free.next_back());
                }
            }
        }
        sequences
    }

    /// Puts the rows of a pass behind what their sequences hold; where they are now.
    fn append<D: Held>(
        &self,
        device: &D,
        sequences: &mut [Sequence],
        parts: &[Part],
        cache: &mut D::KvCache,
    ) -> D::Positions {
        let columns = self.kv_heads * self.head_dim;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for &(index, rows) in parts {
            let Sequence { held, keys: all_keys, values: all_values, .. } = &mut sequences[index];
            let part = *held * columns..(*held + rows) * columns;
            keys.extend(&all_keys[part.clone()]);
            values.extend(&all_values[part]);
            *held += rows;
        }
        let span = |&(index, rows): &Part| {
            let Sequence { held, blocks, .. } = &sequences[index];
            Span { first: held - rows, rows, blocks }
        };
        let spans: Vec<_> = parts.iter().map(span).collect();
        let blocks = spans.iter().map(|span| span.blocks.len()).sum();
        let (rows, frequencies) = (keys.len() / columns, vec![1.0; self.head_dim / 2]);
        let mut positions = device.positions(rows, blocks, &frequencies).unwrap();
        device.set_positions(&mut positions, &spans).unwrap();
        let [keys, values] = [keys, values].map(|numbers| matrix(device, &numbers, columns));
        device.append(&keys, &values, &positions, cache).unwrap();
        positions
    }

    fn expected(&self, sequences: &[Sequence], parts: &[Part], queries: &[f32]) -> Vec<f64> {
        let &Self { kv_heads, group, head_dim, mask } = self;
        let attend = Attend { heads: kv_heads * group, scale: self.scale(), mask };
        let mut rest = queries;
        let part = |&(index, rows): &Part| {
            let Sequence { keys, values, held, .. } = &sequences[index];
            let numbers = ..held * kv_heads * head_dim;
            let (keys, values) = (&keys[numbers], &values[numbers]);
            let own = rest.split_off(..rows * attend.heads * head_dim).unwrap();
            reference::attention(own, PlainCache { kv_heads, head_dim, keys, values }, attend)
        };
        parts.iter().flat_map(part).collect()
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

pub(crate) fn copy_rows<D: Held>(device: &D) {
    let values = [1.0, 2.0, 2.0, f32::NAN, -1.0, f32::INFINITY];
    let x = matrix(device, &values, 3);
    let mut rows = device.activations(3, 3).unwrap();
    device.copy_rows(&x, 0..1, &mut rows, 2).unwrap();
    device.copy_rows(&x, 0..1, &mut rows, 0).unwrap();
    assert_eq!(device.read(&rows).unwrap(), [1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    let values = numbers(12, 1, 1.0);
    device.copy_rows(&matrix(device, &values, 3), 2..4, &mut rows, 1).unwrap();
    assert_eq!(device.read(&rows).unwrap()[3..], values[6..]);
}

/// And so are those of which nothing was asked.
pub(crate) fn unfit_logits_are_left_to_the_host<D: Held>(device: &D) {
    const INFINITY: f32 = f32::INFINITY;
    let rows = [
        [1.0, f32::NAN, 2.0],
        [1.0, INFINITY, 2.0],
        [-INFINITY; 3],
        [1.0, -INFINITY, 2.0],
        [f32::NAN; 3],
    ];
    let logits = matrix(device, rows.as_flattened(), 3);
    for temperature in [0.0, 1.0] {
        let draw = Draw { uniform: 0.5, temperature, top_k: 1, top_p: 0.9 };
        let drawn = device.draw(&logits, &[Some(draw); 5]).unwrap();
        assert!([None, Some(2)].contains(&drawn[3]), "{drawn:?}");
        assert_eq!([drawn[0], drawn[1], drawn[2], drawn[4]], [None; 4]);
        assert_eq!(device.draw(&logits, &[None; 5]).unwrap(), [None; 5]);
    }
}

/// And a row without a draw is passed over.
pub(crate) fn a_greedy_choice_is_the_first_of_the_likeliest<D: Held>(device: &D) {
    const COLUMNS: usize = 5000;
    let likeliest = [[4999, 4999], [0, 3], [2047, 2048], [2049, 4998]];
    let mut rows = numbers(likeliest.len() * COLUMNS, 3, 1.0);
    for (row, likeliest) in rows.chunks_exact_mut(COLUMNS).zip(likeliest) {
        for id in likeliest {
            row[id] = 1.5;
        }
        row[7] = f32::NEG_INFINITY;
    }
    let logits = matrix(device, &rows, COLUMNS);
    let draw = Some(Draw { uniform: 0.0, temperature: 0.0, top_k: 0, top_p: 1.0 });
    let drawn = device.draw(&logits, &[draw, draw, None, draw]).unwrap();
    assert_eq!(drawn, [Some(4999), Some(0), None, Some(2049)]);
}

/// However often it comes, whatever its memory holds, and after a step that failed.
pub(crate) fn as_one_is_as_one_by_one<D: Held>(device: &D) {
    let tensor = |seed, rows| tensor(&Weights::F32(numbers(rows * 3, seed, 1.0)), &[rows, 3]);
    let [table, weight] = [tensor(1, 7), tensor(2, 3)].map(|t| Held::upload(device, &t));
    let room = || device.activations(2, 3).unwrap();
    let (mut x, mut plain, mut product, mut row) = (room(), room(), room(), room());
    let by = || Linear { weight: &weight, bias: None };
    for first in 0..6 {
        device.embed(&table, &[first, first + 1], &mut x).unwrap();
        device.linear(&x, by(), &mut plain).unwrap();
        let failed = device.as_one(|| {
            device.linear_add(&x, by(), &mut product)?;
            Err(Error::NoDevice)
        });
        assert!(matches!(failed, Err(Error::NoDevice)));
        let step = device.as_one(|| {
            device.linear(&x, by(), &mut product)?;
            device.copy_rows(&product, 1..2, &mut row, 0)
        });
        step.unwrap();
        let [expected, product, row] =
            [&plain, &product, &row].map(|out| device.read(out).unwrap());
        assert_eq!((&product, &row[..3]), (&expected, &expected[3..]), "from row {first}");
    }
}

/// Activations with these values. The trait takes them from tables of weights only, so they come
/// out of one.
fn matrix<D: Held>(device: &D, values: &[f32], columns: usize) -> D::Activations {
    let rows = values.len() / columns;
    let table = tensor(&Weights::F32(values.to_vec()), &[rows, columns]);
    let indices: Vec<_> = (0..u32::try_from(rows).unwrap()).collect();
    let mut out = device.activations(rows, columns).unwrap();
    device.embed(&Held::upload(device, &table), &indices, &mut out).unwrap();
    out
}

fn tensor(weights: &Weights, shape: &[usize]) -> Tensor {
    let (dtype, bytes): (_, Vec<u8>) = match weights.elements() {
        Elements::F32(x) => (DType::F32, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Elements::F16(x) => (DType::F16, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Elements::BF16(x) => (DType::BF16, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
    };
    Tensor::from_bytes(Bytes::from(bytes), dtype, shape.to_vec()).unwrap()
}
