//! The folder that a bench serves.

use std::io;
use std::path::{Path, PathBuf};

use crate::random_model::RandomModel;

/// The demo model, a published shape with random weights (made on the first call), or a folder.
pub(crate) fn folder(name: &str) -> io::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = root.join("target/bench-models");
    match name {
        "demo" => Ok(root.join("tests/fixtures/demo-model")),
        "smollm2-135m" => RandomModel::smollm2_135m().folder_in(&cache),
        "qwen2.5-0.5b" => RandomModel::qwen2_5_0_5b().folder_in(&cache),
        "llama-3.2-1b" => RandomModel::llama_3_2_1b().folder_in(&cache),
        folder => Ok(folder.into()),
    }
}
