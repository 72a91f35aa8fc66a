//! What sizes an operation takes: checked alike on every device. What does not fit together is a bug of the caller, and
//! panics.

use std::ops::Range;

use firstlight_kernels::{KV_BLOCK, Span};

/// Rows and columns.
type Shape = (usize, usize);

/// Of a tensor with two axes.
pub(crate) fn matrix(shape: &[usize]) -> Shape {
    match *shape {
        [rows, columns] => (rows, columns),
        ref shape => panic!("a matrix has two axes, not `{shape:?}`"),
    }
}

/// x `(rows, inputs)`, weight `(outputs, inputs)`, out `(rows, outputs)`.
pub(crate) fn check_product(x: Shape, (outputs, inputs): Shape, out: Shape) {
    assert_eq!(x.1, inputs, "columns of the rows to multiply");
    assert_eq!(out, (x.0, outputs), "shape of the product");
}

/// Rows whose norms are those of runs of so many columns.
pub(crate) fn check_runs(columns: usize, run: usize) {
    assert!(run > 0 && columns.is_multiple_of(run), "{columns} columns in runs of {run}");
}

/// Rows that are normed by so many weights and biases.
pub(crate) fn check_norm((_, columns): Shape, weights: usize, biases: usize) {
    assert_eq!((weights, biases), (columns, columns), "lengths of what norms {columns} columns");
}

/// Rows of whole heads.
pub(crate) fn check_heads(columns: usize, head_dim: usize) {
    assert!(columns.is_multiple_of(head_dim), "{columns} columns in heads of {head_dim}");
}

/// Rows of x that become those of out from row `to` on.
pub(crate) fn check_rows(x: Shape, rows: &Range<usize>, out: Shape, to: usize) {
    assert!(rows.start <= rows.end && rows.end <= x.0, "rows {rows:?} of {}", x.0);
    assert_eq!(out.1, x.1, "columns of the copies of rows");
    assert!(to + rows.len() <= out.0, "{} rows from row {to} on of {}", rows.len(), out.0);
}

/// Rows that belong to sequences, in positions made for some rows and blocks.
pub(crate) fn check_spans(spans: &[Span<'_>], (rows, blocks): (usize, usize)) {
    let found: usize = spans.iter().map(|span| span.rows).sum();
    assert!(found <= rows, "{found} rows in positions made for {rows}");
    let found: usize = spans.iter().map(|span| used_blocks(span).len()).sum();
    assert!(found <= blocks, "{found} blocks in positions made for {blocks}");
}

/// The blocks of the positions up to the last row of a span.
pub(crate) fn used_blocks<'a>(span: &Span<'a>) -> &'a [u32] {
    let (end, count) = (span.end(), span.blocks.len());
    assert!(end <= count * KV_BLOCK, "positions up to {end} in {count} blocks of {KV_BLOCK}");
    &span.blocks[..end.div_ceil(KV_BLOCK)]
}

/// Blocks of a cache that has so many. `largest` is the largest number among them.
pub(crate) fn check_blocks(largest: Option<u32>, blocks: usize) {
    if let Some(largest) = largest {
        assert!((largest as usize) < blocks, "block {largest} of {blocks}");
    }
}
