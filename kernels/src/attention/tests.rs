use proptest::prelude::*;

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
    blocks: Vec<u32>,
}

impl Case {
    fn new(layout: KvLayout, group: usize, positions: usize, mask: Mask) -> Self {
        let count = positions * layout.kv_heads * layout.head_dim;
        let (keys, values) = (numbers(count, 1, 3.0), numbers(count, 2, 2.0));
        // The last positions in the first blocks.
        let blocks: Vec<u32> =
            (0..u32::try_from(positions / KV_BLOCK + 2).unwrap()).rev().collect();
        let floats = vec![0.0; layout.floats(blocks.len())];
        let scale = 1.0 / (layout.head_dim as f32).sqrt();
        let attend = Attend { heads: group * layout.kv_heads, scale, mask };
        let mut case = Self { layout, positions, attend, keys, values, floats, blocks };
        case.fill();
        case
    }

    fn fill(&mut self) {
        let span = Span { first: 0, rows: self.positions, blocks: &self.blocks };
        self.layout.append(&mut self.floats, span, &self.keys, &self.values);
    }

    fn view(&self) -> KvView<'_> {
        KvView { layout: self.layout, floats: &self.floats }
    }

    /// The last rows.
    fn span(&self, rows: usize) -> Span<'_> {
        Span { first: self.positions - rows, rows, blocks: &self.blocks }
    }

    fn attention(&self, isa: Isa, queries: &[f32]) -> Vec<f32> {
        let rows = queries.len() / (self.attend.heads * self.layout.head_dim);
        let mut out = vec![f32::NAN; queries.len()];
        attention(isa, queries, self.view(), &[self.span(rows)], self.attend, &mut out);
        out
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
            let out = self.attention(isa, &queries);
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
            Case::new(KvLayout { kv_heads, head_dim }, group, 70, Mask::Causal).check(3);
        }
    }
}

#[test]
fn attention_is_the_references_for_all_lengths_and_windows() {
    let layout = KvLayout { kv_heads: 2, head_dim: 32 };
    for positions in [1, 2, 63, 64, 65, 127, 128, 129, 200, 1000] {
        let windows = [1, 2, 63, 64, 65, 5000].map(Mask::Window);
        for mask in windows.into_iter().chain([Mask::Causal, Mask::Full]) {
            let case = Case::new(layout, 2, positions, mask);
            case.check(1);
            case.check(positions.min(66));
        }
    }
}

#[test]
fn long_prompts_are_spread_over_threads() {
    Case::new(KvLayout { kv_heads: 2, head_dim: 64 }, 3, 300, Mask::Causal).check(300);
}

#[test]
fn no_rows_are_no_work() {
    let case = Case::new(KvLayout { kv_heads: 1, head_dim: 16 }, 1, 5, Mask::Causal);
    assert!(case.attention(Isa::best(), &[]).is_empty());
    attention(Isa::best(), &[], case.view(), &[], case.attend, &mut []);
}

#[test]
fn a_row_is_the_same_alone_and_in_a_prompt() {
    for isa in Isa::available() {
        for mask in [Mask::Causal, Mask::Window(50)] {
            let mut case = Case::new(KvLayout { kv_heads: 2, head_dim: 48 }, 3, 150, mask);
            let columns = case.attend.heads * case.layout.head_dim;
            let queries = case.queries(150);
            let together = case.attention(isa, &queries);
            for row in 0..150 {
                case.positions = row + 1;
                let part = row * columns..(row + 1) * columns;
                let alone = case.attention(isa, &queries[part.clone()]);
                assert_eq!(alone, together[part], "{isa} row {row}");
            }
        }
    }
}

/// Blocks of the pool below.
const POOL_BLOCKS: u32 = 12;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rows_are_the_same_alone_and_beside_others_wherever_their_blocks_are(
        lengths in prop::collection::vec((1_usize..200, 1_usize..80), 1..4),
        numbers_of_blocks in Just((0..POOL_BLOCKS).collect::<Vec<_>>()).prop_shuffle(),
        mask in prop_oneof![
            Just(Mask::Causal),
            Just(Mask::Full),
            (1_usize..150).prop_map(Mask::Window),
        ],
    ) {
        let layout = KvLayout { kv_heads: 2, head_dim: 32 };
        let lengths: Vec<_> = lengths.iter().map(|&(end, rows)| (end, rows.min(end))).collect();
        let cases: Vec<_> =
            lengths.iter().map(|&(end, _)| Case::new(layout, 2, end, mask)).collect();
        let mut pool = vec![f32::NAN; layout.floats(POOL_BLOCKS as usize)];
        let mut free = &numbers_of_blocks[..];
        let spans: Vec<_> = cases.iter().zip(&lengths).map(|(case, &(end, rows))| {
            let (blocks, behind) = free.split_at(end.div_ceil(KV_BLOCK));
            free = behind;
            layout.append(&mut pool, Span { first: 0, rows: end, blocks }, &case.keys, &case.values);
            Span { first: end - rows, rows, blocks }
        }).collect();
        let each: Vec<_> = cases.iter().zip(&lengths).map(|(case, &(_, rows))| case.queries(rows)).collect();
        let queries = each.concat();
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; queries.len()];
            let view = KvView { layout, floats: &pool };
            attention(isa, &queries, view, &spans, cases[0].attend, &mut out);
            let alone = cases.iter().zip(&each).flat_map(|(case, queries)| case.attention(isa, queries));
            prop_assert!(alone.eq(out));
        }
    }
}

#[test]
fn what_cannot_be_seen_does_not_count() {
    let mut case = Case::new(KvLayout { kv_heads: 1, head_dim: 16 }, 2, 140, Mask::Window(40));
    case.positions = 130;
    case.keys.truncate(130 * 16);
    case.values.truncate(130 * 16);
    // Positions behind the last, and ones that slid out of the window.
    let bad = vec![f32::NAN; 16];
    for first in (130..140).chain(0..90) {
        let span = Span { first, rows: 1, blocks: &case.blocks };
        case.layout.append(&mut case.floats, span, &bad, &bad);
    }
    case.check(1);
}

#[test]
fn nan_stays_with_those_who_see_it() {
    let mut case = Case::new(KvLayout { kv_heads: 2, head_dim: 16 }, 2, 80, Mask::Causal);
    let columns = 32;
    case.values[70 * columns + 3] = f32::NAN; // one column of the first head with keys
    case.keys[75 * columns + 20] = f32::NAN; // all of the second
    case.fill();
    case.check(80);
}

#[test]
fn large_scores_do_not_overflow() {
    let mut case = Case::new(KvLayout { kv_heads: 1, head_dim: 32 }, 2, 200, Mask::Causal);
    case.attend.scale = 100.0; // scores of some thousands, the largest anywhere
    let queries = case.queries(5);
    let expected = case.expected(&queries);
    for isa in Isa::available() {
        let out = case.attention(isa, &queries);
        assert_close(&out, &expected, 2e-3, &isa.to_string());
    }
}
