//! The header of one shard: its first bytes to tensors whose ranges are known to be right.
//!
//! A safetensors file is `n` (8 bytes, little endian), `n` bytes of JSON and the data. The length
//! is checked against the object's size and our own limit before anything is believed; then the
//! JSON is parsed, with every duplicate seen; then each tensor's range is checked against its dtype
//! and shape; and then the ranges, in the order of their offsets, must tile the data section: no
//! overlap, no gap, and the last byte of the last tensor is the last byte of the object. What comes
//! out cannot be wrong: [`TensorEntry::range`] counts from the object's first byte and lies within
//! it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::Error;
use crate::raw::{RawHeader, RawTensor};

/// One speculative read of a shard's head. A tensor takes about 120 bytes of JSON, so this holds
/// the header of some 2,000 tensors: most shards of mixtures of experts, and all others. It is 2 ms
/// of a wire of 1 Gbit/s, where a second request would be 30 ms.
pub const HEAD_BYTES: u64 = 256 << 10;

/// The longest header that is read: about 130,000 tensors, where a shard of a mixture of hundreds
/// of experts has thousands. The format's own limit, 100 MB, is most of a second of a wire of 1
/// Gbit/s and several times as much memory once parsed.
pub const HEADER_LIMIT_BYTES: u64 = 16 << 20;

/// Tensors in one shard: [`HEADER_LIMIT_BYTES`] at 128 bytes each.
pub const TENSORS_LIMIT: usize = 1 << 17;

/// Bytes of a tensor's name. Names in use have about 100 at most.
pub const NAME_LIMIT_BYTES: usize = 1 << 10;

/// What the first bytes of an object tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// They hold the whole header.
    Complete(Header),
    /// They do not.
    More {
        /// How many bytes from the object's first are to be read for the next try.
        needed: u64,
    },
}

/// The tensors of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    tensors: Vec<TensorEntry>,
    metadata: BTreeMap<String, String>,
}

/// One tensor of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// As in the checkpoint.
    pub name: String,
    /// Of every element.
    pub dtype: Dtype,
    /// Outermost dimension first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Its bytes, counted from the object's first.
    pub range: Range<u64>,
}

impl TensorEntry {
    /// How many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Header {
    /// Parses the header of `object`, which has `size` bytes and of which `head` are the first.
    pub fn parse(object: &str, head: &[u8], size: u64) -> Result<Head, Error> {
        if size < LENGTH_BYTES {
            return Err(Error::TooShort { object: object.into(), size });
        }
        let Some((length, rest)) = head.split_first_chunk() else {
            return Ok(Head::More { needed: size.min(HEAD_BYTES) });
        };
        let data_start = data_start(object, *length, size)?;
        match usize::try_from(data_start - LENGTH_BYTES).ok().and_then(|n| rest.get(..n)) {
            Some(json) => Checks { object, data_start, size }.header(json).map(Head::Complete),
            None => Ok(Head::More { needed: data_start }),
        }
    }

    /// In the order of their offsets.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorEntry> {
        self.tensors.iter()
    }

    /// The tensor at a place in that order; the manifest knows which places there are.
    pub(crate) fn nth(&self, at: usize) -> &TensorEntry {
        &self.tensors[at]
    }

    /// What the writer said about the file, such as `format: pt`.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// The bytes that hold the header's length.
const LENGTH_BYTES: u64 = 8;

/// Where the data begins, once the header's length is known to be possible.
fn data_start(object: &str, length: [u8; 8], size: u64) -> Result<u64, Error> {
    let bytes = u64::from_le_bytes(length);
    if bytes == 0 || bytes > HEADER_LIMIT_BYTES {
        let hint = hint(length);
        return Err(Error::HeaderLength { object: object.into(), bytes, hint });
    }
    let needed = LENGTH_BYTES + bytes;
    if needed > size {
        return Err(Error::HeaderTruncated { object: object.into(), found: size, needed });
    }
    Ok(needed)
}

/// What an object that begins with a senseless length may be instead.
fn hint(start: [u8; 8]) -> &'static str {
    match &start {
        b"version " => {
            "this is a Git LFS pointer, not the file; run `git lfs pull` and upload the file itself"
        }
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => {
            "this looks like a pickle, which is never loaded; save the model as safetensors"
        }
        [b'G', b'G', b'U', b'F', ..] => "this is a GGUF file; use the model's safetensors files",
        [b'<', ..] => {
            "this looks like a web page or an XML error that was saved under the name of the file"
        }
        [b'{', ..] => "this looks like JSON without the 8 bytes of its length in front",
        _ => "the object is damaged or not a safetensors file",
    }
}

/// The checks of one object.
#[derive(Clone, Copy)]
struct Checks<'a> {
    object: &'a str,
    data_start: u64,
    size: u64,
}

impl Checks<'_> {
    fn header(self, json: &[u8]) -> Result<Header, Error> {
        let RawHeader { metadata, tensors } = self.json(json)?;
        self.names(&tensors)?;
        let mut tensors = tensors
            .into_iter()
            .map(|(name, raw)| self.tensor(name, raw))
            .collect::<Result<Vec<_>, _>>()?;
        // Stable: empty tensors at the same offset keep the order in which they are written.
        tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        self.tiles(&tensors)?;
        self.end(&tensors)?;
        for tensor in &mut tensors {
            // Cannot overflow: the ends are within `size`, by the check above.
            tensor.range = self.data_start + tensor.range.start..self.data_start + tensor.range.end;
        }
        Ok(Header { tensors, metadata })
    }

    fn json(self, json: &[u8]) -> Result<RawHeader, Error> {
        let text = str::from_utf8(json).map_err(|error| Error::HeaderUtf8 {
            object: self.object.into(),
            at: LENGTH_BYTES + error.valid_up_to() as u64,
        })?;
        // The format demands it, so that no header is also something else.
        if let Some(found) = text.chars().next().filter(|first| *first != '{') {
            return Err(Error::HeaderStart { object: self.object.into(), found });
        }
        serde_json::from_str(text)
            .map_err(|reason| Error::HeaderJson { object: self.object.into(), reason })
    }

    fn names(self, tensors: &[(String, RawTensor)]) -> Result<(), Error> {
        let object = || self.object.to_owned();
        if tensors.len() > TENSORS_LIMIT {
            return Err(Error::TensorCount { object: object(), count: tensors.len() });
        }
        let mut seen = HashSet::with_capacity(tensors.len());
        for (name, _) in tensors {
            if name.len() > NAME_LIMIT_BYTES {
                let start = escape(name);
                return Err(Error::NameLength { object: object(), start, bytes: name.len() });
            }
            // Names are printed: none may move the cursor of a terminal.
            if name.contains(char::is_control) {
                let escaped = name.escape_debug().to_string();
                return Err(Error::NameControl { object: object(), escaped });
            }
            if !seen.insert(name) {
                return Err(Error::DuplicateTensor { object: object(), tensor: name.clone() });
            }
        }
        Ok(())
    }

    /// A tensor whose range, still counted from the data's first byte, is as long as its dtype and
    /// shape say.
    fn tensor(self, name: String, raw: RawTensor) -> Result<TensorEntry, Error> {
        let object = self.object.to_owned();
        let RawTensor { dtype, shape, data_offsets: (begin, end) } = raw;
        let Some(dtype) = parse_dtype(&dtype) else {
            return Err(Error::UnknownDtype { object, tensor: name, dtype: escape(&dtype) });
        };
        if begin > end {
            return Err(Error::Backwards { object, tensor: name, begin, end });
        }
        let Some(bits) = bits(dtype, &shape) else {
            return Err(Error::SizeOverflow { object, tensor: name, dtype, shape });
        };
        if bits % 8 != 0 {
            return Err(Error::PartialByte { object, tensor: name, dtype, shape });
        }
        let (found, needed) = (end - begin, bits / 8);
        if found != needed {
            return Err(Error::SizeMismatch { object, tensor: name, dtype, shape, found, needed });
        }
        Ok(TensorEntry { name, dtype, shape, range: begin..end })
    }

    /// Each tensor begins where the one before it ends, the first at 0.
    fn tiles(self, tensors: &[TensorEntry]) -> Result<(), Error> {
        let mut before: Option<&TensorEntry> = None;
        for tensor in tensors {
            let (end, begin) = (before.map_or(0, |before| before.range.end), tensor.range.start);
            if let Some(before) = before.filter(|_| begin < end) {
                let (first, second) = (before.name.clone(), tensor.name.clone());
                return Err(Error::Overlap {
                    object: self.object.into(),
                    first,
                    second,
                    end,
                    begin,
                });
            }
            if begin > end {
                let tensor = tensor.name.clone();
                return Err(Error::Gap {
                    object: self.object.into(),
                    tensor,
                    from: end,
                    to: begin,
                });
            }
            before = Some(tensor);
        }
        Ok(())
    }

    /// The object ends where the last tensor does.
    fn end(self, tensors: &[TensorEntry]) -> Result<(), Error> {
        let data_bytes = tensors.last().map_or(0, |tensor| tensor.range.end);
        // An end past the last u64 is past the end of any object.
        let needed = self.data_start.saturating_add(data_bytes);
        let (object, found) = (self.object.to_owned(), self.size);
        let there = found - self.data_start;
        if let Some(cut) = tensors.iter().find(|tensor| tensor.range.end > there) {
            return Err(Error::DataTruncated { object, tensor: cut.name.clone(), found, needed });
        }
        if needed < found {
            return Err(Error::TrailingData { object, found, needed });
        }
        Ok(())
    }
}

fn parse_dtype(name: &str) -> Option<Dtype> {
    let deserializer: StrDeserializer<ValueError> = name.into_deserializer();
    Dtype::deserialize(deserializer).ok()
}

/// The bits of a tensor; none where a product on the way does not fit, even if a later dimension is
/// 0.
fn bits(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n))?;
    elements.checked_mul(dtype.bitsize() as u64)
}

/// The start of a text from outside, fit for a message.
fn escape(text: &str) -> String {
    text.chars().take(32).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
