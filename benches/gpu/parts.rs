//! The parts of a check: each is measured by a process of its own, so that none takes the others down.

use std::path::Path;

use super::bench::{self, Bench, Result};
use super::record::Recorder;
use super::setup::Setup;
use super::sizes::Sizes;
use super::{attention, ceilings, passes, peer, products, ring, starts, suites};

/// In the order in which they need each other's figures; `cold-start-MODEL` for each model follows.
pub(crate) const PARTS: [&str; 7] =
    ["limits", "tests", "products", "attention", "passes", "ring", "peer"];

/// All names.
pub(crate) fn names(sizes: &Sizes) -> Vec<String> {
    let starts = sizes.models.iter().map(|model| format!("{COLD_START}{}", model.name));
    PARTS.into_iter().map(str::to_owned).chain(starts).collect()
}

/// Measures the part of that name into the file. What it had measured when it fails is in there, with the reason.
pub(crate) fn run(setup: &Setup, name: &str, file: &Path) -> Result<()> {
    let mut recorder = Recorder::begin(file.to_owned(), name, setup.place()?)?;
    let measured = measure(setup, name, &mut recorder);
    match measured {
        Ok(()) => Ok(recorder.end()?),
        Err(error) => {
            recorder.note(format!("failed: {error}"))?;
            Err(error)
        }
    }
}

fn measure(setup: &Setup, name: &str, recorder: &mut Recorder) -> Result<()> {
    if let Some(model) = name.strip_prefix(COLD_START) {
        let model = setup.sizes.models.iter().find(|known| known.name == model);
        return starts::measure(setup, model.ok_or("no such model")?, recorder);
    }
    match name {
        "tests" => return suites::measure(setup, recorder),
        "peer" => return peer::measure(setup, recorder),
        _ => {}
    }
    let cuda = bench::open(setup.device)?;
    let bench = Bench::new(&cuda, &setup.sizes)?;
    match name {
        "limits" => ceilings::measure(&bench, recorder),
        "products" => products::measure(&bench, recorder),
        "attention" => attention::measure(&bench, recorder),
        "passes" => passes::measure(&bench, setup.device, recorder),
        "ring" => ring::measure(&bench, &setup.models, recorder),
        _ => Err(format!("no part `{name}`; there are {}", names(&setup.sizes).join(", ")).into()),
    }
}

const COLD_START: &str = "cold-start-";
