//! The index of a model in several shards, `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;
use crate::raw::RawIndex;

/// The longest index that is parsed: about 600,000 tensors of a hundred bytes, several times the largest published.
pub const INDEX_LIMIT_BYTES: usize = 64 << 20;

/// Which tensor is in which shard. What it says is checked against the shards by [`Manifest::new`].
///
/// [`Manifest::new`]: crate::Manifest::new
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    shard_of: BTreeMap<String, String>,
}

impl Index {
    /// Parses the index `object`. Shards are plain file names, so that an index cannot point out of its folder.
    ///
    /// `metadata.total_size` is not read: published files get it wrong.
    pub fn parse(object: &str, json: &[u8]) -> Result<Self, Error> {
        if json.len() > INDEX_LIMIT_BYTES {
            return Err(Error::IndexLength { object: object.into(), bytes: json.len() });
        }
        let raw: RawIndex = serde_json::from_slice(json)
            .map_err(|reason| Error::IndexJson { object: object.into(), reason })?;
        let mut shard_of = BTreeMap::new();
        for (tensor, shard) in raw.weight_map.0 {
            check_shard_name(object, &tensor, &shard)?;
            if shard_of.insert(tensor.clone(), shard).is_some() {
                let tensor = tensor.escape_debug().to_string();
                return Err(Error::IndexDuplicate { object: object.into(), tensor });
            }
        }
        if shard_of.is_empty() {
            return Err(Error::IndexEmpty { object: object.into() });
        }
        Ok(Self { shard_of })
    }

    /// The names of the shards, sorted, each once.
    #[must_use]
    pub fn shards(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.shard_of.values().collect();
        names.into_iter().cloned().collect()
    }

    /// Tensor and shard, sorted by tensor.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.shard_of.iter().map(|(tensor, shard)| (tensor.as_str(), shard.as_str()))
    }
}

fn check_shard_name(object: &str, tensor: &str, shard: &str) -> Result<(), Error> {
    let separator = |c: char| c == '/' || c == '\\' || c.is_control();
    if matches!(shard, "" | "." | "..") || shard.contains(separator) {
        return Err(Error::ShardName {
            object: object.into(),
            tensor: tensor.escape_debug().to_string(),
            shard: shard.escape_debug().to_string(),
        });
    }
    Ok(())
}
