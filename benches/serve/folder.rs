//! The model as files, with a tokenizer that has a text for each of its tokens: what has none is no event.

use std::path::{Path, PathBuf};
use std::{fs, io};

use firstlight_bucket::Objects;
use serde_json::{Value, json};

use crate::random_model::RandomModel;
use crate::random_model::once::made_once;

/// Where [`objects`] has it.
pub(crate) const IN_BUCKET: &str = "s3://bench/model";

/// Made on the first call.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-models");
    let model = RandomModel::smollm2_135m();
    let original = model.folder_in(&cache)?;
    let folder = cache.join("smollm2-135m-that-speaks");
    made_once(&folder, &format!("2 {}", model.config()), |partial| {
        fs::create_dir_all(partial)?;
        for file in fs::read_dir(&original)? {
            let file = file?;
            fs::hard_link(file.path(), partial.join(file.file_name()))?;
        }
        let tokens = model.config()["vocab_size"].as_u64().expect("every config has it");
        let tokenizer = partial.join("tokenizer.json");
        let speaking = speaking(&fs::read(&tokenizer)?, tokens)?;
        fs::remove_file(&tokenizer)?;
        fs::write(&tokenizer, speaking)
    })?;
    Ok(folder)
}

/// The tokenizer with so many tokens: those that it lacks never come out of a text.
fn speaking(tokenizer: &[u8], tokens: u64) -> io::Result<String> {
    let mut tokenizer: Value = serde_json::from_slice(tokenizer)?;
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("a BPE has one");
    for id in vocabulary.len() as u64..tokens {
        vocabulary.insert(format!("~{id}"), json!(id));
    }
    Ok(tokenizer.to_string())
}

pub(crate) fn objects(folder: &Path) -> Objects {
    let objects = Objects::new();
    objects.serve_folder("bench", "model/", folder).expect("a folder that can be read");
    objects
}
