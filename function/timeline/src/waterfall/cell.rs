//! One column of a bar: how much of it is inked, by which character, and for what.

use crate::Lane;

/// One column of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) glyph: char,
    pub(super) ink: Ink,
}

/// The eighths of a column that are inked, the leftmost in the lowest bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke(pub(super) u8);

/// What a text is painted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Wait,
    Receive,
    Work(Lane),
    Strong,
    Faint,
}

impl Ink {
    pub(super) const fn lane(self) -> Option<Lane> {
        match self {
            Self::Work(lane) => Some(lane),
            _ => None,
        }
    }

    /// Parameters of ANSI's "select graphic rendition": the 16 colours that every theme defines.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Wait | Self::Receive | Self::Work(Lane::Network) => "34",
            Self::Work(Lane::Boot) => "36",
            Self::Work(Lane::Verify) => "35",
            Self::Work(Lane::Copy) => "32",
            Self::Work(Lane::Compute) => "33",
            Self::Strong => "1",
            Self::Faint => "2",
        }
    }
}

/// The work drawn behind the wire. Work that would vanish in the column of the last byte moves into
/// the next one.
pub(super) fn overlaid(mut wire: Vec<Option<Cell>>, work: &[Option<Cell>]) -> Vec<Option<Cell>> {
    for (column, cell) in work.iter().enumerate().filter_map(|(n, cell)| Some((n, (*cell)?))) {
        let next = column + 1;
        if wire[column].is_none() {
            wire[column] = Some(cell);
        } else if matches!((work.get(next), wire.get(next)), (Some(None), Some(None))) {
            wire[next] = Some(Cell { glyph: '▖', ..cell });
        }
    }
    wire
}

/// The block that begins or ends where the eighths do. A block begins at a column's left edge, its
/// middle, or its last eighth: the character set has no others.
pub(super) fn full_height(eighths: u8) -> char {
    let inked = eighths.count_ones() as usize;
    let at_left = eighths & 1 != 0;
    match inked {
        8 => '█',
        inked if at_left => LEFT_BLOCKS[inked],
        0..=2 => '▕',
        3..=5 => '▐',
        _ => '█',
    }
}

/// The half-height block in the halves of the column that are inked.
pub(super) fn half_height(eighths: u8) -> char {
    match (eighths & 0x0f != 0, eighths & 0xf0 != 0) {
        (true, true) => '▄',
        (true, false) => '▖',
        (false, _) => '▗',
    }
}

const LEFT_BLOCKS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
