//! The GPU check itself, on the stand-in for libcuda: everything runs and leaves its figures, whatever they are.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../benches/gpu/main.rs"]
#[expect(dead_code, reason = "its command line is not used")]
mod gpu;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use firstlight_stand_in::Checks;
use gpu::record::{Figure, Part, Place, Record, Recorder};
use gpu::sections::{Section, sections};
use gpu::setup::Setup;
use gpu::sizes::Sizes;
use gpu::{aims, parts, random_model, suites, table};

/// Of the stand-in, with all that processes need to find it.
fn setup(folder: &Path) -> Setup {
    firstlight_stand_in::load();
    let library = firstlight_stand_in::library(Checks::Off);
    Setup {
        sizes: Sizes::of_the_stand_in(),
        device: 0,
        program: env!("CARGO_BIN_EXE_firstlight").into(),
        environment: vec![("LD_LIBRARY_PATH", library.parent().unwrap().into())],
        models: folder.join("models"),
        root: random_model::root(),
        tests: Some(folder.into()),
    }
}

/// A test program that says what it was asked.
fn suite(path: PathBuf) {
    let text = r#"#!/bin/sh
[ -n "$CARGO_MANIFEST_DIR" ] && [ "$FIRSTLIGHT_TEST_GPU" = 0 ] && [ "$1" = cuda:: ] || exit 1
echo "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out"
"#;
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_part_runs_and_leaves_all_of_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    for name in ["device", "model"] {
        suite(folder.path().join(name));
    }
    let file = folder.path().join("gpu-check.json");
    for part in parts::names(&setup.sizes) {
        parts::run(&setup, &part, &file).unwrap_or_else(|error| panic!("{part}: {error}"));
    }
    let record = Record::read(&file).unwrap();
    for (name, part) in &record.parts {
        assert!(part.complete, "{name}");
        assert_eq!(part.place.sizes, "tiny");
        assert!(part.place.device.contains("stand-in"), "{}", part.place.device);
    }
    for section in sections(&setup.sizes).iter().filter(|section| section.name != "peer") {
        assert_complete(section, &record);
    }
    // Python has no torch here, and says so; or it has.
    let peer = &record.parts["peer"];
    assert!(!peer.figures.is_empty() || peer.notes[0].contains("torch"), "{peer:?}");
    let page = table::page(&record);
    assert!(page.contains("Tiny sizes") && page.contains("| 7 | 0 |"), "{page}");
}

/// Of what the program cannot be told, it cannot be measured.
fn assert_complete(section: &Section, record: &Record) {
    for row in &section.rows {
        for column in section.columns.iter().filter(|column| *column != "without CUDA graphs") {
            let value = record.value(section.name, row, column);
            let value = value.unwrap_or_else(|| panic!("no {row}, {column} in {}", section.name));
            let may_be_none = column == "failed" || column == "largest error";
            assert!(value.is_finite() && (value > 0.0 || may_be_none && value >= 0.0), "{row}");
            assert!(column != "failed" || value == 0.0, "{row}: {value} failed");
        }
    }
}

#[test]
fn a_part_that_is_killed_leaves_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpu-check.json");
    for (name, rate) in [("limits", 3.5), ("ring", 1.5)] {
        let mut recorder = Recorder::begin(file.clone(), name, Place::default()).unwrap();
        recorder.figure(name, ["row", "column"], rate, Some(7.0)).unwrap();
    }
    let record = Record::read(&file).unwrap();
    assert_eq!(record.value("limits", "row", "column"), Some(3.5));
    assert_eq!(record.figure("ring", "row", "column").unwrap().limit, Some(7.0));
    assert!(!record.parts["ring"].complete);
    assert!(table::page(&record).contains("`ring` ended early"));
}

#[test]
fn where_there_is_no_gpu_every_cell_says_so() {
    let page = table::page(&Record::default());
    let cells: usize =
        sections(&Sizes::of_gpus()).iter().map(|it| it.rows.len() * it.columns.len()).sum();
    let aims = aims::aims(&Record::default(), &Sizes::of_gpus()).len();
    assert_eq!(page.matches("| not measured").count(), cells + aims);
    assert!(!page.contains("met"));
}

#[test]
fn the_page_of_the_repository_is_that_of_its_results() {
    let root = random_model::root();
    let mut record = Record::default();
    for entry in fs::read_dir(root.join("benches/results")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("gpu-") {
            record.parts.extend(Record::read(&path).unwrap().parts);
        }
    }
    let readme = fs::read_to_string(root.join("tests/gpu/README.md")).unwrap();
    let written = table::within(&readme, &table::page(&record)).unwrap();
    assert!(written == readme, "`tests/gpu/check page`");
}

#[test]
fn an_aim_is_met_or_missed_by_the_worst_of_its_figures() {
    let sizes = Sizes::of_gpus();
    let figure = |section: &str, row: &str, column: &str, value, limit| Figure {
        section: section.into(),
        row: row.into(),
        column: column.into(),
        value,
        limit,
    };
    let verdicts = |figures: Vec<Figure>| {
        let part = Part { figures, ..Part::default() };
        let record = Record { parts: [("a".to_owned(), part)].into() };
        let aims = aims::aims(&record, &sizes).into_iter();
        aims.filter_map(|aim| aim.reached).map(|it| (it.found, it.met)).collect::<Vec<_>>()
    };
    let gemv = |shares: [f64; 3]| {
        let rows = ["4096 x 4096", "14336 x 4096", "4096 x 14336"].into_iter().zip(shares);
        rows.map(|(row, share)| figure("gemv", row, "1 row", share, Some(1.0))).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(gemv([0.9, 0.81, 0.85])), [("81 %".to_owned(), true)]);
    assert_eq!(verdicts(gemv([0.9, 0.79, 0.85])), [("79 %".to_owned(), false)]);
    assert!(verdicts(gemv([0.9, 0.8, 0.9])[..2].to_vec()).is_empty());
    let ring = |rate| vec![figure("ring", "256 MiB", "8 readers", rate, None)];
    assert_eq!(verdicts(ring(19.0)), [("19.0 GB/s".to_owned(), false)]);
    assert_eq!(verdicts(ring(21.0)), [("21.0 GB/s".to_owned(), true)]);
    let s3 = "8B from S3 of this machine";
    let start = |ttft| {
        vec![
            figure("limits", "pinned memory to the device, GB/s", "measured", 50.0, None),
            figure("starts", s3, "weights arrived at, GB/s", 4.0, None),
            figure("starts", s3, "TTFT p50, ms", ttft, Some(4000.0)),
            figure("starts", s3, "context, ms", 300.0, None),
            figure("starts", s3, "bytes / rates, ms", 4000.0, None),
        ]
    };
    assert_eq!(verdicts(start(5300.0)), [("1.25 x".to_owned(), true)]);
    assert_eq!(verdicts(start(5500.0)), [("1.30 x".to_owned(), false)]);
}

#[test]
fn what_tests_say_is_counted() {
    let said = "running 3 tests\ntest result: FAILED. 12 passed; 3 failed; 0 ignored\n\n";
    assert_eq!(suites::counts(said), Some([12, 3]));
    assert_eq!(suites::counts("running 3 tests\n"), None);
}
