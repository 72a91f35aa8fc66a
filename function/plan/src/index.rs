//! The index of a model in several shards, `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;
use crate::raw::RawIndex;

/// The longest index that is parsed: about 600,000 tensors of a hundred bytes, where mixtures of
/// hundreds of experts have about 100,000.
pub const INDEX_LIMIT_BYTES: usize = 64 << 20;

/// Which tensor is in which shard. What it says is checked against the shards by [`Manifest::new`].
///
/// [`Manifest::new`]: crate::Manifest::new
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    shard_of: BTreeMap<String, String>,
}

impl Index {
    /// Parses the index `object`. Shards are plain file names, so that an index cannot point out of
    /// its folder.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let message = Index::parse("i.json", json.as_bytes()).expect_err("a refusal").to_string();
        message.lines().next().expect("a line").to_owned()
    }

    #[test]
    fn shards_are_sorted_and_unique() {
        let json =
            r#"{"metadata":{"total_size":-1},"weight_map":{"a":"2.st","b":"1.st","c":"2.st"}}"#;
        let index = Index::parse("i.json", json.as_bytes()).expect("an index");
        assert_eq!(index.shards(), ["1.st", "2.st"]);
    }

    #[test]
    fn shards_are_plain_file_names() {
        for shard in ["", ".", "..", "/etc/passwd", "../a", "a/b", r"a\\b", r"a\nb", r"\u001b[2J"] {
            let message = refusal(&format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#));
            assert!(message.ends_with("is not a plain file name"), "{shard}: {message}");
            assert!(!message.contains(char::is_control), "{message}");
        }
    }

    #[test]
    fn what_is_no_index() {
        assert!(refusal("").contains("EOF while parsing a value at line 1 column 0"));
        assert!(refusal("{}").contains("missing field `weight_map`"));
        assert!(refusal(r#"{"weight_map":{"a":1}}"#).contains("expected a string"));
        assert_eq!(refusal(r#"{"weight_map":{}}"#), "the `weight_map` of `i.json` is empty");
        assert_eq!(
            refusal(r#"{"weight_map":{"a":"1.st","a":"2.st"}}"#),
            "the `weight_map` of `i.json` lists tensor `a` twice"
        );
        let long = " ".repeat(INDEX_LIMIT_BYTES + 1);
        assert_eq!(
            refusal(&long),
            "`i.json` has 67108865 bytes; the limit of an index is 67108864"
        );
    }
}
