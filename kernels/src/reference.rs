//! Every operation once more, as its formula says, in f64: what the fast ones are checked against.

pub mod check;

use std::ops::Range;

use crate::{Attend, Elements, Gelu, Matrix};

/// `x weight^T + bias`.
#[must_use]
pub fn linear(x: &[f32], rows: usize, weight: Matrix<'_>, bias: Option<Elements<'_>>) -> Vec<f64> {
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    let weights = widen(weight.elements());
    let mut out = Vec::with_capacity(rows * outputs);
    for row in 0..rows {
        for output in 0..outputs {
            let x = x[row * inputs..][..inputs].iter().map(|&x| f64::from(x));
            let products = x.zip(&weights[output * inputs..]).map(|(x, w)| x * w);
            out.push(products.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias.get(output))));
        }
    }
    out
}

/// `x / sqrt(mean(x^2) + eps) * weight`.
#[must_use]
pub fn rms_norm(x: &[f32], weight: Elements<'_>, eps: f32) -> Vec<f64> {
    let weights = widen(weight);
    let mut out = Vec::with_capacity(x.len());
    for run in x.chunks_exact(weights.len()) {
        let mean = run.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / run.len() as f64;
        let factor = 1.0 / (mean + f64::from(eps)).sqrt();
        out.extend(run.iter().zip(&weights).map(|(&x, weight)| f64::from(x) * factor * weight));
    }
    out
}

/// `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.
#[must_use]
pub fn layer_norm(x: &[f32], weight: Elements<'_>, bias: Elements<'_>, eps: f32) -> Vec<f64> {
    let (weights, biases) = (widen(weight), widen(bias));
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weights.len()) {
        let row: Vec<_> = row.iter().map(|&x| f64::from(x)).collect();
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
        let factor = 1.0 / (variance + f64::from(eps)).sqrt();
        let normal = row.iter().map(|x| (x - mean) * factor);
        out.extend(normal.zip(&weights).zip(&biases).map(|((x, weight), bias)| x * weight + bias));
    }
    out
}

/// `x / 2 (1 + erf(x / sqrt(2)))`, or with the hyperbolic tangent in its place.
#[must_use]
pub fn gelu(x: &[f32], form: Gelu) -> Vec<f64> {
    let exact = |x: f64| 0.5 * x * erfc(-x / 2.0_f64.sqrt());
    let by_tanh = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    let gelu = |&x: &f32| match form {
        Gelu::Exact => exact(f64::from(x)),
        Gelu::Tanh => by_tanh(f64::from(x)),
    };
    x.iter().map(gelu).collect()
}

/// The complementary error function: by its series near zero, by its continued fraction further out
/// (Abramowitz and Stegun, 1964, 7.1.6 and 7.1.14).
fn erfc(x: f64) -> f64 {
    let scale = 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp();
    if x < -3.0 {
        return 2.0 - erfc(-x);
    }
    if x > 3.0 {
        let fraction = (1..200).rev().fold(x, |inner, k| x + f64::from(k) / 2.0 / inner);
        return scale / 2.0 / fraction;
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..100 {
        term *= 2.0 * x * x / f64::from(2 * k + 1);
        sum += term;
    }
    1.0 - scale * sum
}

/// Rotation by angles that are rounded to f32.
#[must_use]
pub fn rope(
    x: &[f32],
    columns: usize,
    inverse_frequencies: &[f32],
    first_position: usize,
) -> Vec<f64> {
    let half = inverse_frequencies.len();
    let mut out: Vec<_> = x.iter().map(|&x| f64::from(x)).collect();
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for head in out.chunks_exact_mut(2 * half) {
            for (i, frequency) in inverse_frequencies.iter().enumerate() {
                let (sin, cos) = f64::from((first_position + row) as f32 * frequency).sin_cos();
                let (left, right) = (head[i], head[i + half]);
                head[i] = left * cos - right * sin;
                head[i + half] = right * cos + left * sin;
            }
        }
    }
    out
}

/// Keys and values as they were given: `(positions, kv_heads * head_dim)` each.
#[derive(Clone, Copy, Debug)]
pub struct PlainCache<'a> {
    /// Heads that have keys and values.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// All keys.
    pub keys: &'a [f32],
    /// All values.
    pub values: &'a [f32],
}

/// Softmax of scaled products with all visible keys, times the values.
#[must_use]
pub fn attention(queries: &[f32], cache: PlainCache<'_>, attend: Attend) -> Vec<f64> {
    let PlainCache { kv_heads, head_dim, keys, values } = cache;
    let columns = kv_heads * head_dim;
    let rows = queries.len() / (attend.heads * head_dim);
    let mut out = Vec::with_capacity(queries.len());
    for (index, query) in queries.chunks_exact(head_dim).enumerate() {
        let (row, head) = (index / attend.heads, index % attend.heads);
        let positions = keys.len() / columns;
        let Range { start, end } = attend.mask.visible(positions - rows + row, positions);
        let at = |position| position * columns + head / (attend.heads / kv_heads) * head_dim;
        let score = |position| {
            let products = query.iter().zip(&keys[at(position)..]);
            products.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>()
                * f64::from(attend.scale)
        };
        let scores: Vec<_> = (start..end).map(score).collect();
        let weights = softmax_f64(&scores);
        let column = |column| {
            let weighted = (start..end).zip(&weights);
            weighted.map(|(p, weight)| weight * f64::from(values[at(p) + column])).sum::<f64>()
        };
        out.extend((0..head_dim).map(column));
    }
    out
}

/// `x / (1 + e^-x) * up`.
#[must_use]
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<f64> {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    gate.iter().zip(up).map(|(&gate, &up)| silu(f64::from(gate)) * f64::from(up)).collect()
}

/// `e^(x - max x) / sum e^(x - max x)`.
#[must_use]
pub fn softmax(x: &[f32]) -> Vec<f64> {
    softmax_f64(&x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

fn softmax_f64(x: &[f64]) -> Vec<f64> {
    let maximum = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<_> = x.iter().map(|x| (x - maximum).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn widen(elements: Elements<'_>) -> Vec<f64> {
    (0..elements.len()).map(|index| f64::from(elements.get(index))).collect()
}
