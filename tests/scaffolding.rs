//! The tests' own tools: a broken tool must not make a test pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use half::bf16;
use safetensors::SafeTensors;

use support::process::{Firstlight, RunError, run_within};
use support::random_model::RandomModel;

mod support;

#[test]
fn a_program_that_hangs_is_killed_with_its_children_and_its_words_are_kept() {
    let mut hangs = Command::new("sh");
    hangs.args(["-c", "echo began; sleep 600 & sleep 600"]);
    let error = run_within(&mut hangs, Duration::from_millis(300), &[]).expect_err("it hangs");
    let RunError::TookTooLong(finished) = error else { panic!("{error}") };
    assert_eq!(finished.stdout, "began\n");
    assert!(finished.took < Duration::from_mins(1));
}

#[test]
fn a_child_that_outlives_its_parent_does_not_hold_the_pipe() {
    let mut leaves = Command::new("sh");
    leaves.args(["-c", "sleep 600 & echo done"]);
    let finished = run_within(&mut leaves, Duration::from_mins(1), &[]).expect("it ended");
    assert!(finished.stdout.starts_with("done\n\n[a child of it lived on"), "{finished}");
}

#[test]
fn input_reaches_the_program() {
    let input = vec![b'x'; 1 << 20]; // more than a pipe holds
    let finished =
        run_within(Command::new("cat").arg("-"), Duration::from_mins(1), &input).expect("it ends");
    assert_eq!(finished.stdout.as_bytes(), input);
}

#[test]
fn the_binary_answers() {
    let finished = Firstlight::new(["--version"]).run().success();
    assert_eq!(finished.stdout, concat!("firstlight ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn random_weights_are_normal_seeded_and_independent_of_the_shards() {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let folder = |model: RandomModel| model.folder_in(cache.path()).expect("it is written");
    let one = weights(&folder(RandomModel::tiny()));
    let three = weights(&folder(RandomModel::tiny().shards(3)));
    let other = weights(&folder(RandomModel::tiny().seed(2)));
    assert_eq!(one, three);
    assert_ne!(one, other);
    assert_eq!(
        one.values().map(|values| values.len() * 2).sum::<usize>(),
        RandomModel::tiny().weight_bytes()
    );

    assert!(one["model.norm.weight"].iter().all(|weight| *weight == bf16::ONE));
    let table = &one["model.embed_tokens.weight"];
    let mean = |f: fn(f64) -> f64| {
        table.iter().map(|weight| f(weight.to_f64())).sum::<f64>() / table.len() as f64
    };
    assert!(mean(|w| w).abs() < 1e-4, "{}", mean(|w| w));
    assert!((mean(|w| w * w).sqrt() - 0.02).abs() < 1e-4, "{}", mean(|w| w * w).sqrt());
}

/// The values of all shards of `folder` by name.
fn weights(folder: &Path) -> BTreeMap<String, Vec<bf16>> {
    let files = fs::read_dir(folder)
        .expect("it was written")
        .map(|entry| entry.expect("it is there").path());
    let shards =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    let mut weights = BTreeMap::new();
    for shard in shards {
        let bytes = fs::read(shard).expect("it is there");
        for (name, view) in SafeTensors::deserialize(&bytes).expect("it opens").iter() {
            let values =
                view.data().as_chunks::<2>().0.iter().map(|pair| bf16::from_le_bytes(*pair));
            assert!(weights.insert(name.to_owned(), values.collect()).is_none(), "`{name}` twice");
        }
    }
    weights
}
