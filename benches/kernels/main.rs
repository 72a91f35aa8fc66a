//! Every kernel beside what this machine could do at most, measured in the same run.
//!
//! Products with bf16 weights have the shapes of three models; their weights, and the keys and values of attention,
//! come from memory, a new stretch each time. The limit is the longer of two times: the bytes by the read bandwidth, and
//! the operations by the peak of multiply-adds. What works in a cache has no such limit: its bytes a second are printed.
//!
//! Expected: one row of a large weight at 90 % of the bandwidth, 512 rows at 70 % of the peak and more.
#![expect(clippy::print_stdout, reason = "a program for developers")]

mod limit;
mod stream;
mod table;

use firstlight_device::DType;
use firstlight_kernels::reference::check::numbers;
use firstlight_kernels::{
    Attend, Elements, Isa, KV_BLOCK, KvLayout, KvView, Mask, Product, Span, add, attention, gated,
    linear, linear_add, linear_all, rms_norm, rope, silu_mul, softmax, widen,
};
use half::bf16;

use self::limit::Work;
use self::stream::Stream;
use self::table::{Bench, Group};

const MODELS: [Model; 3] = [
    Model {
        name: "SmolLM2-135M",
        hidden: 576,
        inner: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocabulary: 49_152,
    },
    Model {
        name: "Qwen2.5-0.5B",
        hidden: 896,
        inner: 4864,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        vocabulary: 151_936,
    },
    Model {
        name: "Llama-3.2-1B",
        hidden: 2048,
        inner: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocabulary: 128_256,
    },
];

/// A prompt.
const PROMPT: usize = 512;

/// The largest weight takes 525 MB.
const WEIGHT_BYTES: usize = 576 << 20;

/// The largest cache of keys and values takes 17 MB.
const CACHE_BYTES: usize = 256 << 20;

fn main() {
    let isa = Isa::best();
    let mut bench = Bench::new(isa);
    let mut weights = Stream::new(DType::BF16, WEIGHT_BYTES);
    bench.group("products", |group| {
        for model in &MODELS {
            for rows in [1, PROMPT] {
                products(group, isa, model, rows, &mut weights);
            }
        }
    });
    let mut cache = Stream::new(DType::F32, CACHE_BYTES);
    bench.group("attention", |group| {
        for model in &MODELS {
            for (rows, positions) in [(1, 512), (1, 4096), (PROMPT, PROMPT)] {
                attends(group, isa, model, (rows, positions), &mut cache);
            }
        }
    });
    bench.group("in cache", |group| in_cache(group, isa, &MODELS[1]));
    bench.finish();
}

struct Model {
    name: &'static str,
    hidden: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocabulary: usize,
}

fn products(group: &mut Group<'_>, isa: Isa, model: &Model, rows: usize, weights: &mut Stream) {
    let Model { hidden, inner, .. } = *model;
    let (queries, keys) = (model.heads * model.head_dim, model.kv_heads * model.head_dim);
    let name = |product: &str| format!("{} {product}, rows {rows}", model.name);
    let x = numbers(rows * inner.max(hidden), 1, 1.0);
    let zeros = |columns: usize| vec![0.0; rows * columns];

    let (mut q, mut k, mut v) = (zeros(queries), zeros(keys), zeros(keys));
    group.measure(&name("q, k, v"), table::product(rows, hidden, queries + 2 * keys), || {
        let [queries, keys, values] = weights.next([queries, keys, keys], hidden);
        let product = |weight, out| Product { weight, bias: None, out };
        let products = &mut [
            product(queries, &mut q[..]),
            product(keys, &mut k[..]),
            product(values, &mut v[..]),
        ];
        linear_all(isa, &x[..rows * hidden], products);
    });
    let mut out = zeros(hidden);
    group.measure(&name("output, added"), table::product(rows, queries, hidden), || {
        let [weight] = weights.next([hidden], queries);
        linear_add(isa, &x[..rows * queries], weight, None, &mut out);
    });
    let mut out = zeros(inner);
    group.measure(&name("gate and up"), table::product(rows, hidden, 2 * inner), || {
        let [gate, up] = weights.next([inner, inner], hidden);
        gated(isa, &x[..rows * hidden], (gate, None), (up, None), &mut out);
    });
    let mut out = zeros(hidden);
    group.measure(&name("down"), table::product(rows, inner, hidden), || {
        let [weight] = weights.next([hidden], inner);
        linear(isa, &x[..rows * inner], weight, None, &mut out);
    });
    if rows == 1 {
        let mut out = zeros(model.vocabulary);
        group.measure(&name("vocabulary"), table::product(1, hidden, model.vocabulary), || {
            let [weight] = weights.next([model.vocabulary], hidden);
            linear(isa, &x[..hidden], weight, None, &mut out);
        });
    }
}

fn attends(
    group: &mut Group<'_>,
    isa: Isa,
    model: &Model,
    (rows, positions): (usize, usize),
    cache: &mut Stream,
) {
    let layout = KvLayout { kv_heads: model.kv_heads, head_dim: model.head_dim };
    let columns = model.heads * model.head_dim;
    let queries = numbers(rows * columns, 1, 1.0);
    let mut out = vec![0.0; queries.len()];
    let attend = Attend { heads: model.heads, scale: 0.125, mask: Mask::Causal };
    let blocks: Vec<_> = (0_u32..).take(positions.div_ceil(KV_BLOCK)).collect();
    // Each row sees itself and all before it: a product with the keys, and one with the values.
    let seen: usize = (positions - rows + 1..=positions).sum();
    let bytes = 2 * positions * model.kv_heads * model.head_dim * size_of::<f32>();
    let work = Work { bytes, flop: 4 * seen * columns, like: Elements::F32(&[]) };
    group.measure(&format!("{}, last {rows} of {positions}", model.name), work, || {
        let Elements::F32(floats) = cache.take(layout.floats(blocks.len())) else {
            unreachable!("as it was made")
        };
        let span = Span { first: positions - rows, rows, blocks: &blocks };
        attention(isa, &queries, KvView { layout, floats }, &[span], attend, &mut out);
    });
}

fn in_cache(group: &mut Group<'_>, isa: Isa, model: &Model) {
    let Model { hidden, inner, vocabulary, .. } = *model;
    let floats = numbers(PROMPT * inner, 1, 1.0);
    let weights: Vec<bf16> = floats.iter().map(|&x| bf16::from_f32(x)).collect();
    for rows in [1, PROMPT] {
        let (x, mut out) = (&floats[..rows * hidden], vec![0.0; rows * hidden]);
        let weight = Elements::BF16(&weights[..hidden]);
        group.measure_cached(
            &format!("rms_norm, {rows} rows of {hidden}"),
            8 * rows * hidden,
            || {
                rms_norm(isa, x, weight, 1e-6, &mut out);
            },
        );
        group.measure_cached(&format!("rope, {rows} rows of {hidden}"), 8 * rows * hidden, || {
            rope(isa, &mut out, hidden, &floats[..rows * model.head_dim], model.head_dim);
        });
        group.measure_cached(&format!("add, {rows} rows of {hidden}"), 12 * rows * hidden, || {
            add(&mut out, x);
        });
        let (up, mut gate) = (&floats[..rows * inner], floats[..rows * inner].to_vec());
        group.measure_cached(
            &format!("silu_mul, {rows} rows of {inner}"),
            12 * rows * inner,
            || {
                silu_mul(isa, &mut gate, up);
            },
        );
        group.measure_cached(&format!("widen, {rows} rows of {hidden}"), 6 * rows * hidden, || {
            widen(isa, Elements::BF16(&weights[..rows * hidden]), &mut out);
        });
    }
    let mut logits = floats[..vocabulary].to_vec();
    group.measure_cached(&format!("softmax of {vocabulary}"), 8 * vocabulary, || {
        softmax(isa, &mut logits);
    });
}
