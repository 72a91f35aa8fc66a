use super::*;
use crate::reference::check::{assert_close, numbers};
use crate::reference::{self, PlainCache};

struct Case {
    layout: KvLayout,
    positions: usize,
    attend: Attend,
    keys: Vec<f32>,
    values: Vec<f32>,
    floats: Vec<f32>,
}

impl Case {
    fn new(layout: KvLayout, group: usize, positions: usize, window: Option<usize>) -> Self {
        let count = positions * layout.kv_heads * layout.head_dim;
        let (keys, values) = (numbers(count, 1, 3.0), numbers(count, 2, 2.0));
        let mut floats = vec![0.0; layout.floats(positions + 70)];
        layout.append(&mut floats, 0, &keys, &values);
        let scale = 1.0 / (layout.head_dim as f32).sqrt();
        let attend = Attend { heads: group * layout.kv_heads, scale, window };
        Self { layout, positions, attend, keys, values, floats }
    }

    fn view(&self) -> KvView<'_> {
        KvView { layout: self.layout, floats: &self.floats, positions: self.positions }
    }

    fn queries(&self, rows: usize) -> Vec<f32> {
        numbers(rows * self.attend.heads * self.layout.head_dim, 3, 3.0)
    }

    fn expected(&self, queries: &[f32]) -> Vec<f64> {
        let KvLayout { kv_heads, head_dim } = self.layout;
        let (keys, values) = (&self.keys, &self.values);
        reference::attention(queries, PlainCache { kv_heads, head_dim, keys, values }, self.attend)
    }

    fn check(&self, rows: usize) {
        let queries = self.queries(rows);
        let expected = self.expected(&queries);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; queries.len()];
            attention(isa, &queries, self.view(), self.attend, &mut out);
            let Self { layout, positions, attend, .. } = self;
            let what = format!("{isa} {rows} rows of {positions} {layout:?} {attend:?}");
            assert_close(&out, &expected, 5e-6, &what);
        }
    }
}

#[test]
fn attention_is_the_references_for_all_heads_and_groups() {
    for head_dim in [1, 5, 16, 32, 48, 64, 80, 96, 128, 256] {
        for (kv_heads, group) in [(1, 1), (2, 3), (1, 7), (3, 2), (2, 8)] {
            Case::new(KvLayout { kv_heads, head_dim }, group, 70, None).check(3);
        }
    }
}

#[test]
fn attention_is_the_references_for_all_lengths_and_windows() {
    let layout = KvLayout { kv_heads: 2, head_dim: 32 };
    for positions in [1, 2, 63, 64, 65, 127, 128, 129, 200, 1000] {
        for window in [None, Some(1), Some(2), Some(63), Some(64), Some(65), Some(5000)] {
            let case = Case::new(layout, 2, positions, window);
            case.check(1);
            case.check(positions.min(66));
        }
    }
}

#[test]
fn long_prompts_are_spread_over_threads() {
    Case::new(KvLayout { kv_heads: 2, head_dim: 64 }, 3, 300, None).check(300);
}

#[test]
fn no_rows_are_no_work() {
    let case = Case::new(KvLayout { kv_heads: 1, head_dim: 16 }, 1, 5, None);
    attention(Isa::best(), &[], case.view(), case.attend, &mut []);
}

#[test]
fn a_row_is_the_same_alone_and_in_a_prompt() {
    for isa in Isa::available() {
        for window in [None, Some(50)] {
            let mut case = Case::new(KvLayout { kv_heads: 2, head_dim: 48 }, 3, 150, window);
            let columns = case.attend.heads * case.layout.head_dim;
            let queries = case.queries(150);
            let mut together = vec![0.0; queries.len()];
            attention(isa, &queries, case.view(), case.attend, &mut together);
            for row in 0..150 {
                case.positions = row + 1;
                let part = row * columns..(row + 1) * columns;
                let mut alone = vec![0.0; columns];
                attention(isa, &queries[part.clone()], case.view(), case.attend, &mut alone);
                assert_eq!(alone, together[part], "{isa} row {row}");
            }
        }
    }
}

#[test]
fn what_cannot_be_seen_does_not_count() {
    let mut case = Case::new(KvLayout { kv_heads: 1, head_dim: 16 }, 2, 140, Some(40));
    case.positions = 130;
    case.keys.truncate(130 * 16);
    case.values.truncate(130 * 16);
    // Positions behind the last, and ones that slid out of the window.
    let bad = vec![f32::NAN; 16];
    for position in (130..140).chain(0..90) {
        case.layout.append(&mut case.floats, position, &bad, &bad);
    }
    case.check(1);
}

#[test]
fn nan_stays_with_those_who_see_it() {
    let mut case = Case::new(KvLayout { kv_heads: 2, head_dim: 16 }, 2, 80, None);
    let columns = 32;
    case.values[70 * columns + 3] = f32::NAN; // one column of the first head with keys
    case.keys[75 * columns + 20] = f32::NAN; // all of the second
    case.layout.append(&mut case.floats, 0, &case.keys, &case.values);
    case.check(80);
}

#[test]
fn large_scores_do_not_overflow() {
    let mut case = Case::new(KvLayout { kv_heads: 1, head_dim: 32 }, 2, 200, None);
    case.attend.scale = 100.0; // scores of some thousands, the largest anywhere
    let queries = case.queries(5);
    let expected = case.expected(&queries);
    for isa in Isa::available() {
        let mut out = vec![0.0; queries.len()];
        attention(isa, &queries, case.view(), case.attend, &mut out);
        assert_close(&out, &expected, 2e-3, &isa.to_string());
    }
}
