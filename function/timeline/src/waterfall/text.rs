//! Text in the columns that it is given.

/// A line that is written from several places; later text does not overwrite earlier text.
pub(super) struct Cells(Vec<char>);

impl Cells {
    pub(super) fn new(columns: usize) -> Self {
        Self(vec![' '; columns])
    }

    pub(super) fn write(&mut self, column: usize, text: &str) {
        let room = self.0.len().saturating_sub(text.chars().count());
        for (cell, glyph) in self.0[column.min(room)..].iter_mut().zip(text.chars()) {
            *cell = glyph;
        }
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().collect()
    }
}

/// Text from outside without control characters, which a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `text` in at most `columns` columns, its middle left out where it is longer.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= columns {
        return text.to_owned();
    }
    let tail = columns / 2;
    let head = columns - tail - 1;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}
