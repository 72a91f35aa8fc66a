use std::num::NonZero;
use std::sync::Arc;

use half::bf16;

use super::*;
use crate::Team;
use crate::reference;
use crate::reference::check::{SIZES, Weights, assert_close, numbers};

fn product(isa: Isa, x: &[f32], weight: Matrix<'_>, bias: Option<Elements<'_>>) -> Vec<f32> {
    let rows = if weight.inputs() == 0 { 1 } else { x.len() / weight.inputs() };
    let mut out = vec![f32::NAN; rows * weight.outputs()];
    linear(isa, x, weight, bias, &mut out);
    out
}

/// What this instruction set multiplies such weights with.
fn seen(isa: Isa, x: &[f32], weight: Matrix<'_>) -> Vec<f32> {
    let rounds = isa.has_bf16_dot() && matches!(weight.elements(), Elements::BF16(_));
    x.iter().map(|&x| if rounds { bf16::from_f32(x).to_f32() } else { x }).collect()
}

fn check(rows: usize, outputs: usize, inputs: usize) {
    // Weights so small that results are of the order of one, whatever the length.
    let range = 3.0 / (1.0 + inputs as f32).sqrt();
    let x = numbers(rows * inputs, 1, 1.0);
    let biases = Weights::all(&numbers(outputs, 2, 1.0));
    for (weights, bias) in Weights::all(&numbers(outputs * inputs, 3, range)).iter().zip(&biases) {
        let weight = Matrix::new(weights.elements(), outputs, inputs);
        for bias in [None, Some(bias.elements())] {
            for isa in Isa::available() {
                let expected = reference::linear(&seen(isa, &x, weight), rows, weight, bias);
                let mut out = vec![f32::NAN; rows * outputs];
                linear(isa, &x, weight, bias, &mut out);
                let what = format!("{isa} {rows} rows ({outputs}, {inputs})");
                assert_close(&out, &expected, 2e-6, &what);
            }
        }
    }
}

#[test]
fn products_of_one_row_are_the_references() {
    for inputs in SIZES {
        for outputs in [0, 1, 2, 7, 8, 9, 33] {
            check(1, outputs, inputs);
        }
    }
}

#[test]
fn products_of_some_rows_are_the_references() {
    for rows in [0, 2, 3, 4, 5, 6, 7, 8, 9, 13] {
        for inputs in [0, 1, 15, 16, 17, 31, 40, 129] {
            for outputs in [1, 3, 5, 6, 7, 12, 13, 29] {
                check(rows, outputs, inputs);
            }
        }
    }
}

#[test]
fn products_of_many_rows_cross_all_blocks() {
    for rows in [63, 64, 65, 130] {
        for inputs in [511, 512, 530] {
            check(rows, 50, inputs);
        }
    }
}

#[test]
fn products_that_pay_for_threads_are_the_references() {
    check(1, 701, 1000);
    check(4, 350, 517);
    check(19, 203, 260);
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    for isa in Isa::available() {
        for (outputs, inputs) in [(37, 100), (301, 1061)] {
            for weights in Weights::all(&numbers(outputs * inputs, 1, 1.0)) {
                let weight = Matrix::new(weights.elements(), outputs, inputs);
                let bias = Some(weights.elements().slice(0..outputs));
                let x = numbers(70 * inputs, 2, 1.0);
                let alone: Vec<_> =
                    x.chunks(inputs).flat_map(|row| product(isa, row, weight, bias)).collect();
                for rows in [2, 3, 4, 5, 6, 7, 8, 65, 70] {
                    let together = product(isa, &x[..rows * inputs], weight, bias);
                    assert!(together == alone[..rows * outputs], "{isa} {rows} rows of {inputs}");
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (outputs, inputs) = (1003, 600);
    let weights = &Weights::all(&numbers(outputs * inputs, 1, 1.0))[2];
    let weight = Matrix::new(weights.elements(), outputs, inputs);
    for rows in [1, 3, 20] {
        let x = numbers(rows * inputs, 2, 1.0);
        let results = [1, 2, 3, 8].map(|threads| {
            let team = Arc::new(Team::new(NonZero::new(threads).unwrap()));
            team.enter(|| product(Isa::best(), &x, weight, None))
        });
        assert!(results.iter().all(|result| *result == results[0]), "{rows} rows");
    }
}

#[test]
fn nan_and_infinity_go_where_they_belong() {
    let (outputs, inputs) = (9, 35);
    let mut weights = numbers(outputs * inputs, 1, 1.0);
    weights[2 * inputs + 34] = f32::NAN;
    weights[5 * inputs + 3] = f32::INFINITY;
    for weights in Weights::all(&weights) {
        let weight = Matrix::new(weights.elements(), outputs, inputs);
        for rows in [1, 4, 6] {
            let mut x = numbers(rows * inputs, 2, 1.0);
            x[(rows - 1) * inputs + 33] = f32::NEG_INFINITY;
            x[0] = f32::NAN;
            for isa in Isa::available() {
                let expected = reference::linear(&seen(isa, &x, weight), rows, weight, None);
                let what = format!("{isa} {rows}");
                assert_close(&product(isa, &x, weight, None), &expected, 1e-5, &what);
            }
        }
    }
}

#[test]
fn activations_round_to_the_nearest_bf16() {
    let halfway = |bits: u32| f32::from_bits(bits << 16 | 0x8000);
    let x = [
        halfway(0x3f80),
        halfway(0x3f81),
        halfway(0xbf80) + 1e-7,
        halfway(0xbf80) - 1e-7,
        f32::MAX,
        f32::MIN,
        1.0 + 1e-3,
        f32::NAN,
        0.0,
    ];
    let one = [bf16::ONE];
    let weight = Matrix::new(Elements::BF16(&one), 1, 1);
    for isa in Isa::available() {
        let expected: Vec<_> = seen(isa, &x, weight).into_iter().map(f64::from).collect();
        assert_close(&product(isa, &x, weight, None), &expected, 0.0, isa.name());
    }
}

#[test]
fn several_products_are_those_of_each() {
    for isa in Isa::available() {
        for rows in [0, 1, 5, 70] {
            let (inputs, outputs) = (576, [576, 0, 192, 191]);
            let x = numbers(rows * inputs, 1, 1.0);
            let weights = outputs.map(|outputs| Weights::all(&numbers(outputs * inputs, 2, 0.1)));
            let bias = numbers(576, 3, 1.0);
            let mut outs = outputs.map(|outputs| vec![f32::NAN; rows * outputs]);
            let mut products: Vec<_> = (outs.iter_mut().zip(&weights).zip(outputs).enumerate())
                .map(|(index, ((out, weights), outputs))| Product {
                    weight: Matrix::new(weights[2 - index % 3].elements(), outputs, inputs),
                    bias: (index != 2).then(|| Elements::F32(&bias[..outputs])),
                    out,
                })
                .collect();
            linear_all(isa, &x, &mut products);
            for Product { weight, bias, out } in products {
                let mut alone = vec![f32::NAN; out.len()];
                linear(isa, &x, weight, bias, &mut alone);
                assert!(out == alone, "{isa} {rows} rows of {}", weight.outputs());
            }
        }
    }
}

#[test]
fn an_added_product_is_added_last() {
    for isa in Isa::available() {
        for (rows, outputs, inputs) in [(1, 576, 1536), (3, 37, 50), (67, 61, 576)] {
            let x = numbers(rows * inputs, 1, 1.0);
            let before = numbers(rows * outputs, 4, 1.0);
            let bias = numbers(outputs, 3, 1.0);
            for weights in Weights::all(&numbers(outputs * inputs, 2, 0.1)) {
                let weight = Matrix::new(weights.elements(), outputs, inputs);
                let bias = Some(Elements::F32(&bias));
                let mut expected = before.clone();
                crate::add(&mut expected, &product(isa, &x, weight, bias));
                let mut out = before.clone();
                linear_add(isa, &x, weight, bias, &mut out);
                assert!(out == expected, "{isa} {rows} rows ({outputs}, {inputs})");
            }
        }
    }
}

#[test]
fn a_gated_product_is_silu_mul_of_two() {
    for isa in Isa::available() {
        for (rows, outputs, inputs) in [(0, 5, 7), (1, 1536, 576), (3, 37, 50), (67, 61, 576)] {
            let x = numbers(rows * inputs, 1, 1.0);
            let gates = Weights::all(&numbers(outputs * inputs, 2, 0.3));
            let ups = Weights::all(&numbers(outputs * inputs, 3, 0.3));
            for (gate, up) in gates.iter().zip(&ups) {
                let bias = gate.elements().slice(0..outputs);
                let gate = Matrix::new(gate.elements(), outputs, inputs);
                let up = Matrix::new(up.elements(), outputs, inputs);
                for (gate_bias, up_bias) in [(None, None), (Some(bias), None), (None, Some(bias))] {
                    let mut expected = product(isa, &x, gate, gate_bias);
                    crate::silu_mul(isa, &mut expected, &product(isa, &x, up, up_bias));
                    let mut out = vec![f32::NAN; rows * outputs];
                    gated(isa, &x, (gate, gate_bias), (up, up_bias), &mut out);
                    assert!(out == expected, "{isa} {rows} rows ({outputs}, {inputs})");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "shapes of two weights")]
fn a_gate_has_the_shape_of_what_it_gates() {
    let weight = |outputs, inputs| Matrix::new(Elements::F32(&[0.0; 6]), outputs, inputs);
    let (gate, up) = ((weight(2, 3), None), (weight(3, 2), None));
    gated(Isa::best(), &[0.0; 3], gate, up, &mut [0.0; 2]);
}

#[test]
#[should_panic(expected = "length of the 2 rows to multiply")]
fn sizes_are_checked() {
    let weight = Matrix::new(Elements::F32(&[0.0; 6]), 2, 3);
    linear(Isa::best(), &[0.0; 5], weight, None, &mut [0.0; 4]);
}
