//! What sizes an operation takes: checked alike on every device. What does not fit together is a bug of the caller, and
//! panics.

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

/// Rows of whole heads.
pub(crate) fn check_heads(columns: usize, head_dim: usize) {
    assert!(columns.is_multiple_of(head_dim), "{columns} columns in heads of {head_dim}");
}

/// A row of x that becomes all of out.
pub(crate) fn check_row((rows, columns): Shape, row: usize, out: Shape) {
    assert!(row < rows, "row {row} of {rows}");
    assert_eq!(out, (1, columns), "shape of the copy of a row");
}
