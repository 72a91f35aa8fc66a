//! Which sequences the rows of a pass belong to, where in them they stand, and the angles by which their heads turn there.
//!
//! All of it lies on the device, at addresses that stay: what is recorded once does what is there when it is run. It is
//! sent once a pass, in one piece:
//!
//! ```text
//! tiles   the rows of long spans, up to 64 of one span in each, for the attention of many rows
//! places  each row for itself: first those of short spans, which attend one by one; then the others
//! tables  the positions of each span's sequence, and its blocks
//! ```

use firstlight_kernels::cuda::Place;
use firstlight_kernels::cuda::attention::{PREFILL_LEAST_ROWS, TILE_ROWS};

use super::arena::ALIGN_BYTES;
use super::memory::{Address, Memory};
use super::number;
use super::staging::Staging;
use super::stream::Stream;
use crate::{Error, Span, shapes};

/// Rows of some sequences, one sequence behind the other.
#[derive(Debug)]
pub struct Positions {
    /// What is sent; behind it the frequencies `(head_dim / 2)`; behind them the turns `(rows, head_dim)`.
    memory: Memory,
    half: usize,
    /// Room for rows and for blocks.
    capacity: (usize, usize),
    rows: usize,
    /// Those that attend one by one.
    single_rows: usize,
    /// Of the others.
    tiles: usize,
    /// Of all sequences whose rows attend one by one, the most positions that one has.
    longest: usize,
    largest_block: Option<u32>,
}

impl Positions {
    /// With the frequencies still to come, to [where they lie](Self::frequencies).
    pub(super) fn new(
        stream: &Stream,
        capacity: (usize, usize),
        half: usize,
    ) -> Result<Self, Error> {
        let turns_bytes = (capacity.0 * 2 * half * size_of::<f32>()) as u64;
        let bytes = turns_offset(capacity, half) + turns_bytes;
        let memory = Memory::new(stream.context(), bytes, "the positions of a pass")?;
        let (rows, single_rows, tiles, longest, largest_block) = (0, 0, 0, 0, None);
        Ok(Self { memory, half, capacity, rows, single_rows, tiles, longest, largest_block })
    }

    /// Sets them, the turns apart. Long spans are to be cut into tiles where attention takes `tiles`.
    pub(super) fn set(
        &mut self,
        spans: &[Span<'_>],
        tiles: bool,
        staging: &mut Staging,
    ) -> Result<(), Error> {
        shapes::check_spans(spans, self.capacity);
        let parts = Parts::of(spans, tiles);
        self.rows = parts.single.len() + parts.others.len();
        (self.single_rows, self.tiles) = (parts.single.len(), parts.tiles.len());
        let last = |place: &Place| place.position as usize + 1;
        self.longest = parts.single.iter().map(last).max().unwrap_or(0);
        self.largest_block = spans.iter().flat_map(shapes::used_blocks).copied().max();
        staging.send(&parts.bytes(self.capacity.0), self.tiles())
    }

    /// Of all spans.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many rows attend one by one: their places are the first.
    pub(super) fn single_rows(&self) -> usize {
        self.single_rows
    }

    /// The most positions that one of these sees.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// How many tiles the other rows make.
    pub(super) fn tile_count(&self) -> usize {
        self.tiles
    }

    /// The largest number of a block.
    pub(super) fn largest_block(&self) -> Option<u32> {
        self.largest_block
    }

    pub(super) fn head_dim(&self) -> usize {
        2 * self.half
    }

    pub(super) fn tiles(&self) -> Address {
        self.memory.start()
    }

    pub(super) fn places(&self) -> Address {
        self.memory.start() + tiles_bytes(self.capacity.0) as u64
    }

    pub(super) fn tables(&self) -> Address {
        self.memory.start() + tables_offset(self.capacity.0) as u64
    }

    pub(super) fn frequencies(&self) -> Address {
        self.memory.start() + frequencies_offset(self.capacity)
    }

    pub(super) fn turns(&self) -> Address {
        self.memory.start() + turns_offset(self.capacity, self.half)
    }
}

/// What is sent.
#[derive(Default)]
struct Parts {
    tiles: Vec<Place>,
    single: Vec<Place>,
    others: Vec<Place>,
    tables: Vec<u32>,
}

impl Parts {
    fn of(spans: &[Span<'_>], tiles: bool) -> Self {
        let mut parts = Self::default();
        let mut row = 0;
        for span in spans {
            let (rows, position) = (number(span.rows), number(span.first));
            parts.tables.push(number(span.end()));
            let all = Place { row, rows, position, table: number(parts.tables.len()) };
            parts.tables.extend(shapes::used_blocks(span));
            if tiles && rows >= PREFILL_LEAST_ROWS {
                parts.tiles.extend(cut(all, TILE_ROWS));
                parts.others.extend(cut(all, 1));
            } else {
                parts.single.extend(cut(all, 1));
            }
            row += rows;
        }
        parts
    }

    /// As they lie on the device, where there is room for so many rows.
    fn bytes(&self, capacity_rows: usize) -> Vec<u8> {
        let places = self.single.iter().chain(&self.others);
        let words = |place: &Place| place.words().map(u32::to_ne_bytes).concat();
        let mut bytes: Vec<u8> = self.tiles.iter().flat_map(words).collect();
        bytes.resize(tiles_bytes(capacity_rows), 0);
        bytes.extend(places.flat_map(words));
        bytes.resize(tables_offset(capacity_rows), 0);
        bytes.extend(self.tables.iter().flat_map(|block| block.to_ne_bytes()));
        bytes
    }
}

/// A place in pieces of so many rows; the last one may have less.
fn cut(place: Place, rows: u32) -> impl Iterator<Item = Place> {
    (0..place.rows).step_by(rows as usize).map(move |before| Place {
        row: place.row + before,
        rows: rows.min(place.rows - before),
        position: place.position + before,
        table: place.table,
    })
}

/// Spans that are cut have [`PREFILL_LEAST_ROWS`], and a tile more than once as many.
fn tiles_bytes(rows: usize) -> usize {
    rows / PREFILL_LEAST_ROWS as usize * Place::BYTES
}

fn tables_offset(rows: usize) -> usize {
    tiles_bytes(rows) + rows * Place::BYTES
}

fn frequencies_offset((rows, blocks): (usize, usize)) -> u64 {
    // No more spans than rows, each with its number of positions.
    aligned((tables_offset(rows) + (rows + blocks) * size_of::<u32>()) as u64)
}

fn turns_offset(capacity: (usize, usize), half: usize) -> u64 {
    frequencies_offset(capacity) + aligned((half * size_of::<f32>()) as u64)
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(row: u32, rows: u32, position: u32, table: u32) -> Place {
        Place { row, rows, position, table }
    }

    #[test]
    fn long_spans_are_cut_into_tiles_and_short_ones_into_rows() {
        let spans = [
            Span { first: 100, rows: 70, blocks: &[5, 6, 7] },
            Span { first: 3, rows: 2, blocks: &[4, 9] },
            Span { first: 64, rows: 9, blocks: &[1, 2] },
        ];
        let parts = Parts::of(&spans, true);
        assert_eq!(parts.tiles, [place(0, 64, 100, 1), place(64, 6, 164, 1), place(72, 9, 64, 7)]);
        assert_eq!(parts.single, [place(70, 1, 3, 5), place(71, 1, 4, 5)]);
        assert_eq!((parts.others.len(), parts.others[70]), (79, place(72, 1, 64, 7)));
        assert_eq!(parts.tables, [170, 5, 6, 7, 5, 4, 73, 1, 2], "as far as their rows reach");
        let parts = Parts::of(&spans, false);
        assert_eq!((parts.tiles.len(), parts.single.len(), parts.others.len()), (0, 81, 0));
    }

    #[test]
    fn there_is_room_for_all_tiles() {
        for rows in 1..2000 {
            let least = PREFILL_LEAST_ROWS as usize;
            for (count, each) in [(1, rows), (rows / least, least), (rows / 65, 65)] {
                let span = Span { first: 0, rows: each, blocks: &[0; 32] };
                let parts = Parts::of(&vec![span; count], true);
                assert!(
                    parts.tiles.len() * Place::BYTES <= tiles_bytes(rows),
                    "{rows}: {count} {each}"
                );
            }
        }
    }
}
