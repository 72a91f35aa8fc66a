//! Weights to safetensors: one file, or numbered shards with their index.
//!
//! Tensors are given in the order of the model. Shards are cut from it at about equal sizes; within a shard the
//! tensors lie by name, as the published ones do (so that layer 10 comes before layer 2).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use serde_json::{Map, Value, json};

/// A tensor to be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl Entry {
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How the values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredAs {
    F32,
    Bf16,
}

impl StoredAs {
    /// As `torch_dtype` of a config.json has it.
    pub(crate) fn torch_dtype(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    fn safetensors_dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
        }
    }

    fn value_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Writes `entries` into `shards` files of `folder`, side by side; `fill` pushes the values of one tensor, in any pieces.
pub(crate) fn write_checkpoint(
    folder: &Path,
    stored_as: StoredAs,
    shards: usize,
    entries: &[Entry],
    fill: impl Fn(&Entry, &mut Values) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let mut weight_map = Map::new();
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for (number, mut shard) in cut(entries, shards).into_iter().enumerate() {
            shard.sort_by(|a, b| a.name.cmp(&b.name));
            let (name, fill) = (file_name(number, shards), &fill);
            weight_map.extend(shard.iter().map(|entry| (entry.name.clone(), json!(name))));
            let path = folder.join(name);
            writers.push(scope.spawn(move || write_shard(&path, stored_as, &shard, fill)));
        }
        let written = |writer: ScopedJoinHandle<_>| writer.join().expect("no writer panics");
        writers.into_iter().try_for_each(written)
    })?;
    if shards == 1 {
        return Ok(());
    }
    let total_bytes: usize = entries.iter().map(|e| e.count() * stored_as.value_bytes()).sum();
    let index = json!({ "metadata": { "total_size": total_bytes }, "weight_map": weight_map });
    fs::write(folder.join("model.safetensors.index.json"), format!("{index:#}"))
}

/// Takes the values of one tensor and writes them as they are stored.
pub(crate) struct Values<'a> {
    out: &'a mut BufWriter<File>,
    stored_as: StoredAs,
    count: usize,
}

impl Values<'_> {
    pub(crate) fn push(&mut self, values: &[f32]) -> io::Result<()> {
        self.count += values.len();
        let bytes: Vec<u8> = match self.stored_as {
            StoredAs::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            StoredAs::Bf16 => values.iter().flat_map(|v| bf16_bits(*v).to_le_bytes()).collect(),
        };
        self.out.write_all(&bytes)
    }
}

/// The upper half of a finite f32, rounded to the nearest, ties to even.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let last_kept = (bits >> 16) & 1;
    ((bits + 0x7fff + last_kept) >> 16) as u16
}

/// In order, each tensor in the shard that its first value falls into.
fn cut(entries: &[Entry], shards: usize) -> Vec<Vec<&Entry>> {
    let total: usize = entries.iter().map(Entry::count).sum();
    let mut cut = vec![Vec::new(); shards];
    let mut before = 0;
    for entry in entries {
        cut[before * shards / total].push(entry);
        before += entry.count();
    }
    assert!(cut.iter().all(|shard| !shard.is_empty()), "{shards} shards are too many");
    cut
}

fn file_name(number: usize, shards: usize) -> String {
    match shards {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{shards:05}.safetensors", number + 1),
    }
}

fn write_shard(
    path: &Path,
    stored_as: StoredAs,
    entries: &[&Entry],
    fill: &impl Fn(&Entry, &mut Values) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let header = header(stored_as, entries);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for entry in entries {
        let mut values = Values { out: &mut out, stored_as, count: 0 };
        fill(entry, &mut values)?;
        assert_eq!(values.count, entry.count(), "the values of `{}`", entry.name);
    }
    out.flush()
}

/// The JSON of a shard, filled up with spaces so that the data begins at a multiple of 8.
fn header(stored_as: StoredAs, entries: &[&Entry]) -> String {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut start = 0;
    for entry in entries {
        let end = start + entry.count() * stored_as.value_bytes();
        let (dtype, shape) = (stored_as.safetensors_dtype(), &entry.shape);
        let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert(entry.name.clone(), info);
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}
