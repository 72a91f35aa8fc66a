//! Products of the same rows, cut into pieces for the threads.

use super::panel::{Panel, Then};
use super::rounded::Rounded;
use crate::elements::{Elements, Matrix, with_dtype};
use crate::isa::Isa;
use crate::threads::{self, Rectangle};

/// A product, and what becomes of its results.
pub(super) struct Pass<'a> {
    weight: Matrix<'a>,
    bias: Option<Elements<'a>>,
    then: Then,
}

/// What one or more passes write, one after the other.
pub(super) struct Target<'a> {
    passes: &'a [Pass<'a>],
    /// `(rows, outputs)`
    out: &'a mut [f32],
}

/// Writes all targets, whose passes all multiply the rows `x`.
pub(super) fn run(isa: Isa, x: &[f32], targets: &mut [Target<'_>]) {
    let cost = targets.iter().map(|target| target.check(x)).sum();
    let Some(inputs) = targets.first().map(Target::inputs) else { return };
    assert!(targets.iter().all(|target| target.inputs() == inputs), "inputs of all products");
    if cost == 0 && targets.iter().all(|target| target.out.is_empty()) {
        return;
    }
    let rounds = inputs > 0 && isa.has_bf16_dot() && targets.iter().any(Target::has_bf16);
    let rounded = rounds.then(|| Rounded::of(isa, x, inputs));
    let rows = Rows { x, inputs, rounded: rounded.as_ref() };
    let mut pieces = cut(targets, cost);
    threads::for_each_piece(&mut pieces, 1, cost, |_, pieces| {
        for piece in pieces {
            piece.run(isa, rows);
        }
    });
    if let Some(rounded) = rounded {
        rounded.recycle();
    }
}

impl<'a> Pass<'a> {
    pub(super) fn new(weight: Matrix<'a>, bias: Option<Elements<'a>>, then: Then) -> Self {
        if let Some(bias) = bias {
            assert_eq!(bias.len(), weight.outputs(), "length of the bias");
        }
        Self { weight, bias, then }
    }
}

impl<'a> Target<'a> {
    pub(super) fn new(passes: &'a [Pass<'a>], out: &'a mut [f32]) -> Self {
        let shape = |pass: &Pass<'_>| (pass.weight.outputs(), pass.weight.inputs());
        let first = shape(&passes[0]);
        for pass in passes {
            assert_eq!(shape(pass), first, "shapes of two weights that become one product");
        }
        Self { passes, out }
    }

    fn outputs(&self) -> usize {
        self.passes[0].weight.outputs()
    }

    fn inputs(&self) -> usize {
        self.passes[0].weight.inputs()
    }

    fn has_bf16(&self) -> bool {
        self.passes.iter().any(|pass| matches!(pass.weight.elements(), Elements::BF16(_)))
    }

    fn rows(&self) -> usize {
        self.out.len().checked_div(self.outputs()).unwrap_or(0)
    }

    /// Panics where the sizes do not fit; gives the number of multiply-adds.
    fn check(&self, x: &[f32]) -> usize {
        let (rows, outputs, inputs) = (self.rows(), self.outputs(), self.inputs());
        assert_eq!(self.out.len(), rows * outputs, "length of the product of {rows} rows");
        if outputs > 0 {
            assert_eq!(x.len(), rows * inputs, "length of the {rows} rows to multiply");
        }
        self.out.len() * inputs * self.passes.len()
    }
}

/// What is multiplied: `(rows, inputs)`.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [f32],
    inputs: usize,
    /// For weights in bf16, if this instruction set multiplies those.
    rounded: Option<&'a Rounded>,
}

/// A rectangle of a target.
struct Piece<'a> {
    passes: &'a [Pass<'a>],
    first_row: usize,
    first_column: usize,
    out: Rectangle<'a>,
}

/// All targets, in pieces that are worth a thread's while.
fn cut<'a>(targets: &'a mut [Target<'_>], cost: usize) -> Vec<Piece<'a>> {
    let rows = targets.iter().map(Target::rows).max().unwrap_or(0);
    let columns = targets.iter().map(Target::outputs).sum();
    let (height, width) =
        if threads::pays(cost) { piece_shape(rows, columns) } else { (rows, columns) };
    let mut pieces = Vec::new();
    for target in targets {
        let (rows, outputs, passes) = (target.rows(), target.outputs(), target.passes);
        if rows > 0 {
            let rectangles = threads::rectangles(target.out, outputs, height, width);
            let across = outputs.div_ceil(width);
            pieces.extend(rectangles.into_iter().enumerate().map(|(index, out)| Piece {
                passes,
                first_row: index / across * height,
                first_column: index % across * width,
                out,
            }));
        }
    }
    pieces
}

/// Rows and columns of one piece of work: several pieces a thread, since a thread may lose its core
/// to one that fetches.
fn piece_shape(rows: usize, columns: usize) -> (usize, usize) {
    let height = rows.min(PIECE_ROWS);
    let across = (threads::count() * PIECES_PER_THREAD).div_ceil(rows.div_ceil(height));
    (height, columns.div_ceil(across).next_multiple_of(TILE_MULTIPLE))
}

impl Piece<'_> {
    fn run(&mut self, isa: Isa, rows: Rows<'_>) {
        let columns = self.out[0].len();
        let row_bytes = (rows.inputs * size_of::<f32>()).max(1);
        let block_columns = (BLOCK_BYTES / row_bytes).next_multiple_of(TILE_MULTIPLE);
        for start in (0..columns).step_by(block_columns) {
            let end = columns.min(start + block_columns);
            for pass in self.passes {
                let panel = Panel {
                    bias: pass.bias,
                    first: self.first_column,
                    columns: start..end,
                    inputs: rows.inputs,
                    then: pass.then,
                    out: &mut self.out,
                };
                let skip = self.first_column * rows.inputs;
                match (pass.weight.elements(), rows.rounded) {
                    (Elements::BF16(weight), Some(rounded)) => {
                        let x = rounded.rows(self.first_row);
                        isa.run_bf16(panel.of(x, rounded.stride(), &weight[skip..]));
                    }
                    (elements, _) => with_dtype!(elements, weight => {
                        let x = &rows.x[self.first_row * rows.inputs..];
                        isa.run(panel.of(x, rows.inputs, &weight[skip..]));
                    }),
                }
            }
        }
    }
}

/// Weights of a block: a quarter of a second-level cache of 1 MiB, since the rows of `x` pass
/// through it as well.
const BLOCK_BYTES: usize = 512 << 10;

/// What the columns of all tiles divide, so that only the last tile of a matrix is not whole.
const TILE_MULTIPLE: usize = 24;

/// Rows of a piece. A few pieces of a long prompt share weights, and two that write the same rows
/// share cache lines.
const PIECE_ROWS: usize = 128;

/// Pieces of work a thread. More balance better, and cost more to hand out.
const PIECES_PER_THREAD: usize = 4;
