use rayon::ThreadPoolBuilder;

use super::*;
use crate::reference;
use crate::reference::check::{SIZES, Weights, assert_close, numbers};

fn product(isa: Isa, x: &[f32], weight: Matrix<'_>, bias: Option<Elements<'_>>) -> Vec<f32> {
    let rows = if weight.inputs() == 0 { 1 } else { x.len() / weight.inputs() };
    let mut out = vec![f32::NAN; rows * weight.outputs()];
    linear(isa, x, weight, bias, &mut out);
    out
}

fn check(rows: usize, outputs: usize, inputs: usize) {
    // Weights so small that results are of the order of one, whatever the length.
    let range = 3.0 / (1.0 + inputs as f32).sqrt();
    let x = numbers(rows * inputs, 1, 1.0);
    let biases = Weights::all(&numbers(outputs, 2, 1.0));
    for (weights, bias) in Weights::all(&numbers(outputs * inputs, 3, range)).iter().zip(&biases) {
        let weight = Matrix::new(weights.elements(), outputs, inputs);
        for bias in [None, Some(bias.elements())] {
            let expected = reference::linear(&x, rows, weight, bias);
            for isa in Isa::available() {
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
        for inputs in [0, 1, 15, 16, 17, 40, 129] {
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
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product(Isa::best(), &x, weight, None))
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
    let weight = Matrix::new(Elements::F32(&weights), outputs, inputs);
    for rows in [1, 4, 6] {
        let mut x = numbers(rows * inputs, 2, 1.0);
        x[(rows - 1) * inputs + 33] = f32::NEG_INFINITY;
        let expected = reference::linear(&x, rows, weight, None);
        for isa in Isa::available() {
            assert_close(
                &product(isa, &x, weight, None),
                &expected,
                1e-5,
                &format!("{isa} {rows}"),
            );
        }
    }
}

#[test]
#[should_panic(expected = "length of the 2 rows to multiply")]
fn sizes_are_checked() {
    let weight = Matrix::new(Elements::F32(&[0.0; 6]), 2, 3);
    linear(Isa::best(), &[0.0; 5], weight, None, &mut [0.0; 4]);
}
