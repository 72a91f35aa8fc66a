//! Every tensor of a model by name, whichever shard it is in.
//!
//! The index and the shards must agree. An index that names a shard that is not there, or a tensor that its shard does
//! not hold, is an error, and so is a tensor in two shards: which one is meant would be a guess. A tensor that the index
//! does not mention is tolerated, as transformers does: the shard says that it is there, and it says where.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::{Error, Header, Index, TensorEntry};

/// One object with tensors in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its file name, as in the index.
    pub name: String,
    /// Of the whole object, in bytes.
    pub size: u64,
    /// Its tensors.
    pub header: Header,
}

/// The shards of a model and the way from a tensor's name to its bytes.
#[derive(Debug, Clone)]
pub struct Manifest {
    shards: Vec<Shard>,
    /// Shard and place in the order of its header.
    by_name: HashMap<String, (usize, usize)>,
    weight_bytes: u64,
}

impl Manifest {
    /// Brings the shards of a model together, and checks that `index` says the same as they do.
    pub fn new(shards: Vec<Shard>, index: Option<&Index>) -> Result<Self, Error> {
        let manifest =
            Self { weight_bytes: weight_bytes(&shards)?, by_name: by_name(&shards)?, shards };
        if let Some(index) = index {
            manifest.check(index)?;
        }
        Ok(manifest)
    }

    /// The shard and the entry of a tensor.
    #[must_use]
    pub fn get(&self, tensor: &str) -> Option<(usize, &TensorEntry)> {
        let &(shard, entry) = self.by_name.get(tensor)?;
        Some((shard, self.shards[shard].header.nth(entry)))
    }

    /// In the order in which they were given; plans name shards by their place in it.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Shard and entry of every tensor, by shard and offset.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &TensorEntry)> {
        let shards = self.shards.iter().enumerate();
        shards.flat_map(|(at, shard)| shard.header.tensors().map(move |entry| (at, entry)))
    }

    /// The bytes of all tensors, whether a plan wants them or not.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    fn check(&self, index: &Index) -> Result<(), Error> {
        let shards: HashMap<&str, usize> =
            self.shards.iter().enumerate().map(|(at, shard)| (shard.name.as_str(), at)).collect();
        for (tensor, shard) in index.pairs() {
            let Some(expected) = shards.get(shard) else {
                let (tensor, shard) = (tensor.escape_debug().to_string(), shard.into());
                return Err(Error::ShardMissing { tensor, shard });
            };
            let found = self.by_name.get(tensor).map(|(at, _)| *at);
            if found != Some(*expected) {
                let elsewhere = found
                    .map(|at| format!("; `{}` does", self.shards[at].name))
                    .unwrap_or_default();
                let (tensor, shard) = (tensor.escape_debug().to_string(), shard.into());
                return Err(Error::IndexMismatch { tensor, shard, elsewhere });
            }
        }
        Ok(())
    }
}

/// The sum of all tensors, which also shows that the sum over any part of them can be counted.
fn weight_bytes(shards: &[Shard]) -> Result<u64, Error> {
    shards.iter().try_fold(0u64, |sum, shard| {
        let bytes = shard.header.tensors().map(TensorEntry::bytes).sum(); // within the shard's size
        sum.checked_add(bytes).ok_or_else(|| Error::ModelSize { shard: shard.name.clone() })
    })
}

fn by_name(shards: &[Shard]) -> Result<HashMap<String, (usize, usize)>, Error> {
    let mut names = HashSet::with_capacity(shards.len());
    let mut by_name: HashMap<String, (usize, usize)> = HashMap::new();
    for (at, shard) in shards.iter().enumerate() {
        if !names.insert(shard.name.as_str()) {
            return Err(Error::DuplicateShard { shard: shard.name.clone() });
        }
        for (entry, tensor) in shard.header.tensors().enumerate() {
            match by_name.entry(tensor.name.clone()) {
                Entry::Vacant(slot) => slot.insert((at, entry)),
                Entry::Occupied(slot) => {
                    let first = shards[slot.get().0].name.clone();
                    let (tensor, second) = (tensor.name.clone(), shard.name.clone());
                    return Err(Error::TensorTwice { tensor, first, second });
                }
            };
        }
    }
    Ok(by_name)
}
