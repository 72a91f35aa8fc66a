use proptest::prelude::*;

use super::*;
use crate::samples::{Spec, shard, tensor};

const SUPPORTED: &[Dtype] = &[
    Dtype::BF16,
    Dtype::F16,
    Dtype::F32,
    Dtype::F64,
    Dtype::I8,
    Dtype::I64,
    Dtype::BOOL,
    Dtype::F8_E4M3,
    Dtype::F4,
    Dtype::F6_E2M3,
];

fn limits(range_bytes: u64, gap_bytes: u64) -> Limits {
    Limits { range_bytes, ramp: 1, gap_bytes, align_bytes: 64, supported: SUPPORTED }
}

fn bytes(name: &str, n: u64) -> Spec {
    (name.into(), Dtype::I8, vec![n])
}

fn manifest(shards: &[&[Spec]]) -> Manifest {
    let shards = shards.iter().enumerate().map(|(i, specs)| shard(&format!("{i}.st"), specs));
    Manifest::new(shards.collect(), None).expect("shards that agree")
}

/// A stage that wants the tensors of these names, as they are.
fn stage(manifest: &Manifest, name: &str, tensors: &[&str]) -> Stage {
    let want = |tensor: &&str| Want {
        name: (*tensor).into(),
        shape: manifest.get(tensor).expect("a tensor").1.shape.clone(),
    };
    Stage { name: name.into(), tensors: tensors.iter().map(want).collect() }
}

/// The ranges of a plan's fetches, counted from the first byte of their shard's data.
fn ranges(plan: &Plan, manifest: &Manifest) -> Vec<Range<u64>> {
    let starts = manifest.shards().iter().map(|shard| shard.header.nth(0).range.start);
    let starts: Vec<u64> = starts.collect();
    let data = |fetch: &Fetch| {
        let start = starts[fetch.shard];
        fetch.range.start - start..fetch.range.end - start
    };
    plan.fetches.iter().map(data).collect()
}

#[test]
fn stages_are_fetched_in_their_order() {
    let manifest = manifest(&[
        &[bytes("head", 10), bytes("layer.1", 20), bytes("unused", 30), bytes("layer.0", 40)],
        &[bytes("embed", 50), bytes("norm", 60)],
    ]);
    let stages = [
        stage(&manifest, "embed", &["embed"]),
        stage(&manifest, "layer 0", &["layer.0"]),
        stage(&manifest, "layer 1", &["layer.1"]),
        stage(&manifest, "head", &["norm", "head"]),
    ];
    let plan = Plan::new(&manifest, &stages, &limits(1 << 20, 1 << 10)).expect("a plan");
    assert_eq!(ranges(&plan, &manifest), [0..50, 60..100, 10..30, 0..10, 50..110]);
    let arena: Vec<_> = plan.stages.iter().flat_map(|stage| &stage.tensors).collect();
    let arena: Vec<_> = arena.iter().map(|tensor| tensor.arena.clone()).collect();
    assert_eq!(arena, [0..50, 64..104, 128..148, 192..252, 256..266]);
    assert_eq!(plan.stages[3].fetches, 3..5);
    assert_eq!((plan.stages[3].bytes, plan.arena_bytes), (70, 266));
    assert_eq!((plan.weight_bytes(), plan.fetched_bytes()), (180, 180));
    let unused: Vec<_> = plan.unused(&manifest).map(|(_, entry)| entry.name.as_str()).collect();
    assert_eq!(unused, ["unused"]);
}

#[test]
fn small_gaps_are_fetched_over() {
    let manifest = manifest(&[&[bytes("a", 100), bytes("x", 10), bytes("b", 100)]]);
    let stages = [stage(&manifest, "s", &["b", "a"])];
    let plan = |gap| Plan::new(&manifest, &stages, &limits(1 << 20, gap)).expect("a plan");
    assert_eq!(ranges(&plan(9), &manifest), [0..100, 110..210]);
    assert_eq!(ranges(&plan(10), &manifest), vec![Range { start: 0, end: 210 }]);
    assert_eq!((plan(10).weight_bytes(), plan(10).fetched_bytes()), (200, 210));
    let places = &plan(10).fetches[0].places;
    // `b` is the first tensor of the stage, and the last in the file.
    let found: Vec<_> = places.iter().map(|place| (place.tensor, place.arena)).collect();
    assert_eq!(found, [(1, 128), (0, 0)]);
}

#[test]
fn the_first_fetches_are_shorter_step_by_step() {
    let manifest = manifest(&[&[bytes("a", 64 * 100)]]);
    let limits = Limits { ramp: 4, ..limits(64 * 8, 0) };
    let plan = Plan::new(&manifest, &[stage(&manifest, "s", &["a"])], &limits).expect("a plan");
    let lines = plan.fetches.iter().map(|fetch| (fetch.range.end - fetch.range.start) / 64);
    assert_eq!(lines.take(6).collect::<Vec<_>>(), [2, 4, 6, 8, 8, 8]);
}

#[test]
fn long_runs_are_cut_evenly() {
    let manifest = manifest(&[&[bytes("a", 900), bytes("b", 1150)]]);
    let stages = [stage(&manifest, "s", &["a", "b"])];
    let plan = Plan::new(&manifest, &stages, &limits(1024, 0)).expect("a plan");
    assert_eq!(ranges(&plan, &manifest), [0..704, 704..1408, 1408..2050]);
    let middle = &plan.fetches[1].places;
    let found: Vec<_> = middle.iter().map(|place| (place.tensor, place.arena)).collect();
    assert_eq!(found, [(0, 704), (1, 960)]);
}

#[test]
fn rows_of_a_table() {
    let manifest = manifest(&[&[
        bytes("before", 7),
        ("table".into(), Dtype::BF16, vec![100, 8]),
        bytes("after", 9),
    ]]);
    let rows =
        |rows: &[u32], gap| Plan::rows(&manifest, "table", &[100, 8], rows, &limits(64, gap));
    let plan = rows(&[0, 1, 4, 9, 99], 32).expect("a plan");
    let table = |row: u64| 7 + row * 16;
    let expected =
        [table(0)..table(2), table(4)..table(5), table(9)..table(10), table(99)..table(100)];
    let at = |plan: &Plan| ranges(plan, &manifest);
    // Rows 1 and 4 are 32 bytes apart, but together with row 0 they are longer than a range.
    assert_eq!(at(&plan), expected);
    let tensor = &plan.stages[0].tensors[0];
    assert_eq!((&*tensor.shape, &tensor.arena), (&[5, 8][..], &(0..80)));
    assert_eq!(plan.fetches[3].places[0].arena, 64);
    assert_eq!(plan.weight_bytes(), 80);
    let none = rows(&[], 0).expect("a plan");
    assert_eq!((none.fetches.len(), none.stages[0].tensors[0].shape[0]), (0, 0));
    let message = rows(&[3, 100], 0).expect_err("a refusal").to_string();
    assert_eq!(message, "row 100 of tensor `table` is wanted, which has 100 rows");
}

#[test]
fn wishes_that_the_files_do_not_grant() {
    let manifest = manifest(&[&[bytes("transformer.h.0.w", 4), ("i".into(), Dtype::U64, vec![2])]]);
    let refusal = |wants: &[(&str, u64)]| {
        let want = |(name, n): &(&str, u64)| Want { name: (*name).into(), shape: vec![*n] };
        let stage = Stage { name: "layer 0".into(), tensors: wants.iter().map(want).collect() };
        let error = Plan::new(&manifest, &[stage], &limits(64, 0)).expect_err("a refusal");
        error.to_string()
    };
    let missing = refusal(&[("model.h.0.w", 4)]);
    assert!(missing.starts_with("the model needs tensor `model.h.0.w`, which none of the 2"));
    assert!(missing.contains("nearest names are `transformer.h.0.w`"), "{missing}");
    let shape = refusal(&[("transformer.h.0.w", 5)]);
    assert!(shape.contains("`0.st` is [4], but config.json implies [5]"), "{shape}");
    let dtype = refusal(&[("i", 2)]);
    assert!(
        dtype.contains("tensor `i` of `0.st` has dtype U64, which is not supported"),
        "{dtype}"
    );
    assert!(dtype.contains("hint: supported are BF16, F16, F32"), "{dtype}");
    let twice = refusal(&[("i", 2), ("i", 2)]);
    assert!(twice.starts_with("tensor `i` is wanted by both `layer 0` and `layer 0`"), "{twice}");
}

/// A model of up to three shards, and for each tensor the stage that wants it, if one does.
fn model() -> impl Strategy<Value = (Manifest, Vec<Stage>)> {
    let tensor = (tensor(), 0usize..3, prop::option::weighted(0.8, 0usize..4));
    prop::collection::vec(tensor, 0..24).prop_map(|tensors| {
        let mut shards = vec![Vec::new(); 3];
        let mut stages = vec![Vec::new(); 4];
        for (i, ((dtype, shape), shard, stage)) in tensors.into_iter().enumerate() {
            let name = format!("tensor.{i}");
            shards[shard].push((name.clone(), dtype, shape.clone()));
            // Every other one in front, so that stages do not want tensors in the order of the
            // file.
            if let Some(wants) = stage.map(|stage| &mut stages[stage]) {
                let at = if i % 2 == 0 { 0 } else { wants.len() };
                wants.insert(at, Want { name, shape });
            }
        }
        let shards: Vec<&[Spec]> = shards.iter().map(Vec::as_slice).collect();
        let stage = |(i, tensors)| Stage { name: format!("stage {i}"), tensors };
        (manifest(&shards), stages.into_iter().enumerate().map(stage).collect())
    })
}

/// Limits that small tensors run into.
fn small_limits() -> impl Strategy<Value = Limits> {
    (1u64..300, 1usize..6, 0u64..80, 0u32..8).prop_map(|(range_bytes, ramp, gap_bytes, align)| {
        Limits { align_bytes: 1 << align, ramp, ..limits(range_bytes, gap_bytes) }
    })
}

/// The rules that each fetch keeps on its own.
fn check_fetches(plan: &Plan, limits: &Limits) -> Result<(), TestCaseError> {
    for (at, fetch) in plan.fetches.iter().enumerate() {
        prop_assert!(plan.stages[fetch.stage].fetches.contains(&at));
        let (first, last) = (&fetch.places[0], &fetch.places[fetch.places.len() - 1]);
        prop_assert_eq!(&fetch.range, &(first.source.start..last.source.end));
        prop_assert!(fetch.range.end - fetch.range.start <= limits.range_bytes);
        for pair in fetch.places.windows(2) {
            prop_assert!(pair[0].source.end <= pair[1].source.start);
            prop_assert!(pair[1].source.start - pair[0].source.end <= limits.gap_bytes);
        }
    }
    let key = |fetch: &Fetch| (fetch.stage, fetch.shard, fetch.range.start);
    prop_assert!(plan.fetches.is_sorted_by_key(key));
    Ok(())
}

/// Tensors are disjoint, aligned and in the order of the stages.
fn check_arena(plan: &Plan, limits: &Limits) -> Result<(), TestCaseError> {
    let mut end = 0;
    for Placed { arena, source, .. } in plan.stages.iter().flat_map(|stage| &stage.tensors) {
        prop_assert!(arena.start >= end && arena.start.is_multiple_of(limits.align_bytes));
        prop_assert_eq!(arena.end - arena.start, source.end - source.start);
        end = arena.end;
    }
    prop_assert_eq!(end, plan.arena_bytes);
    Ok(())
}

/// What the arena holds once every fetch has landed: the shard and the offset that each byte came
/// from.
fn land(plan: &Plan) -> Result<Vec<Option<(usize, u64)>>, TestCaseError> {
    let mut arena = vec![None; usize::try_from(plan.arena_bytes).expect("a small arena")];
    for fetch in &plan.fetches {
        for place in &fetch.places {
            let to = usize::try_from(place.arena).expect("a small arena");
            let tensor = &plan.stages[fetch.stage].tensors[place.tensor];
            prop_assert!(!place.source.is_empty() && tensor.arena.contains(&place.arena));
            for (slot, from) in arena[to..].iter_mut().zip(place.source.clone()) {
                prop_assert_eq!(slot.replace((fetch.shard, from)), None, "placed twice");
            }
        }
    }
    Ok(arena)
}

proptest! {
    #[test]
    fn every_wanted_byte_is_placed_once((manifest, stages) in model(), limits in small_limits()) {
        let plan = Plan::new(&manifest, &stages, &limits).expect("a plan");
        check_fetches(&plan, &limits)?;
        check_arena(&plan, &limits)?;
        let mut arena = land(&plan)?;
        for (stage, planned) in stages.iter().zip(&plan.stages) {
            prop_assert_eq!(stage.tensors.len(), planned.tensors.len());
            for (want, tensor) in stage.tensors.iter().zip(&planned.tensors) {
                let (shard, entry) = manifest.get(&want.name).expect("a tensor");
                prop_assert_eq!(&tensor.name, &want.name);
                prop_assert_eq!((tensor.shard, &tensor.source), (shard, &entry.range));
                for (to, from) in tensor.arena.clone().zip(entry.range.clone()) {
                    let slot = &mut arena[usize::try_from(to).expect("a small arena")];
                    prop_assert_eq!(slot.take(), Some((shard, from)));
                }
            }
        }
        prop_assert!(arena.iter().all(Option::is_none), "only padding is left");
        let used = plan.stages.iter().map(|stage| stage.tensors.len()).sum::<usize>();
        prop_assert_eq!(plan.unused(&manifest).count() + used, manifest.tensors().count());
    }

    #[test]
    fn every_wanted_row_is_placed_once(
        rows in prop::collection::btree_set(0u32..40, 0..40),
        columns in 0u64..9,
        limits in small_limits(),
    ) {
        let table = ("table".into(), Dtype::F16, vec![40, columns]);
        let manifest = manifest(&[&[bytes("before", 5), table]]);
        let rows: Vec<u32> = rows.into_iter().collect();
        let plan = Plan::rows(&manifest, "table", &[40, columns], &rows, &limits).expect("a plan");
        check_fetches(&plan, &limits)?;
        let start = manifest.get("table").expect("a tensor").1.range.start;
        let row_bytes = columns * 2;
        let starts = rows.iter().map(|row| start + u64::from(*row) * row_bytes);
        let expected = starts.flat_map(|start| start..start + row_bytes).map(|at| Some((0, at)));
        prop_assert_eq!(land(&plan)?, expected.collect::<Vec<_>>());
    }
}
