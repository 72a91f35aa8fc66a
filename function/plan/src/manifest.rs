//! Every tensor of a model by name, whichever shard it is in.
//!
//! The index and the shards must agree. An index that names a shard that is not there, or a tensor
//! that its shard does not hold, is an error, and so is a tensor in two shards: which one is meant
//! would be a guess. A tensor that the index does not mention is tolerated, as transformers does:
//! the shard says that it is there, and it says where.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::{Error, Header, Index, TensorEntry};

/// The tensors of a model together, 16 TiB: several times the largest published. With it, sums of
/// places and padding stay far from the end of a `u64`, and the fetches of a plan fit into memory.
pub const MODEL_LIMIT_BYTES: u64 = 1 << 44;

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
            Self { by_name: by_name(&shards)?, weight_bytes: weight_bytes(&shards)?, shards };
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

fn weight_bytes(shards: &[Shard]) -> Result<u64, Error> {
    let mut sum = 0u64;
    for shard in shards {
        let bytes = shard.header.tensors().map(TensorEntry::bytes).sum(); // at most its size
        sum = sum.saturating_add(bytes);
        if sum > MODEL_LIMIT_BYTES {
            return Err(Error::ModelSize { shard: shard.name.clone(), bytes: sum });
        }
    }
    Ok(sum)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;
    use crate::samples::shard;

    fn shards() -> Vec<Shard> {
        let tensor = |name: &str, n| (name.to_owned(), Dtype::F32, vec![n]);
        vec![shard("1.st", &[tensor("a", 2), tensor("b", 3)]), shard("2.st", &[tensor("c", 4)])]
    }

    fn refusal(weight_map: &str) -> String {
        let json = format!(r#"{{"weight_map":{weight_map}}}"#);
        let index = Index::parse("i.json", json.as_bytes()).expect("an index");
        let message = Manifest::new(shards(), Some(&index)).expect_err("a refusal").to_string();
        message.lines().next().expect("a line").to_owned()
    }

    #[test]
    fn tensors_are_found_in_any_shard() {
        let index = Index::parse("i.json", br#"{"weight_map":{"a":"1.st","c":"2.st"}}"#);
        let manifest = Manifest::new(shards(), Some(&index.expect("an index"))).expect("agreement");
        let (at, entry) = manifest.get("c").expect("a tensor");
        assert_eq!((at, entry.name.as_str(), entry.bytes()), (1, "c", 16));
        // The index does not mention it; the shard is believed.
        assert_eq!(manifest.get("b").map(|(at, _)| at), Some(0));
        assert_eq!(manifest.get("d"), None);
        assert_eq!(manifest.weight_bytes(), 36);
        let names: Vec<_> = manifest.tensors().map(|(_, entry)| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn index_and_shards_disagree() {
        assert_eq!(
            refusal(r#"{"a":"1.st","c":"3.st"}"#),
            "the index maps tensor `c` to `3.st`, which is not there"
        );
        assert_eq!(
            refusal(r#"{"a":"1.st","d":"2.st"}"#),
            "the index maps tensor `d` to `2.st`, but that shard does not hold it"
        );
        assert_eq!(
            refusal(r#"{"a":"2.st"}"#),
            "the index maps tensor `a` to `2.st`, but that shard does not hold it; `1.st` does"
        );
    }

    #[test]
    fn shards_disagree_with_each_other() {
        let [first, mut second]: [Shard; 2] = shards().try_into().expect("two shards");
        second.header = first.header.clone();
        let error = Manifest::new(vec![first.clone(), second], None).expect_err("a refusal");
        assert!(matches!(error, Error::TensorTwice { .. }), "{error}");
        let error = Manifest::new(vec![first.clone(), first], None).expect_err("a refusal");
        assert!(matches!(error, Error::DuplicateShard { .. }), "{error}");
        let huge =
            |name: &str| shard(name, &[(name.into(), Dtype::U8, vec![MODEL_LIMIT_BYTES / 2 + 1])]);
        let error = Manifest::new(vec![huge("a"), huge("b")], None).expect_err("a refusal");
        assert!(matches!(error, Error::ModelSize { .. }), "{error}");
    }
}
