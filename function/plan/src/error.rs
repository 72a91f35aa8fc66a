//! What can be wrong with the files of a model, or between them and what the model wants.

use safetensors::Dtype;

use crate::header::{HEADER_LIMIT_BYTES, NAME_LIMIT_BYTES, TENSORS_LIMIT};
use crate::index::INDEX_LIMIT_BYTES;
use crate::manifest::MODEL_LIMIT_BYTES;

/// Numbers are bytes of the whole object unless the message says otherwise; ends are exclusive.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum Error {
    // One shard's header.
    #[error(
        "`{object}` has {size} bytes, fewer than the 8 that every safetensors file begins with\n\
         hint: upload it again; an empty object is often an interrupted copy"
    )]
    TooShort { object: String, size: u64 },

    #[error(
        "`{object}` announces a header of {bytes} bytes; the limit is 1 to {HEADER_LIMIT_BYTES}\n\
         hint: {hint}"
    )]
    HeaderLength { object: String, bytes: u64, hint: &'static str },

    #[error(
        "`{object}` ends at byte {found}, within its header, which needs {needed}\n\
         hint: the object is truncated; upload it again"
    )]
    HeaderTruncated { object: String, found: u64, needed: u64 },

    #[error(
        "the header of `{object}` is not UTF-8 from byte {at} of the object on\n\
         hint: the object is damaged or not a safetensors file"
    )]
    HeaderUtf8 { object: String, at: u64 },

    #[error(
        "the header of `{object}` begins with {found:?} instead of `{{`\n\
         hint: the object is damaged or not a safetensors file"
    )]
    HeaderStart { object: String, found: char },

    #[error(
        "the header of `{object}` is not what the safetensors format allows: {reason}\n\
         hint: lines and columns count from 1, after the 8 bytes of the length"
    )]
    HeaderJson { object: String, reason: serde_json::Error },

    #[error(
        "`{object}` lists {count} tensors; the limit is {TENSORS_LIMIT} a shard\n\
         hint: split it into more shards"
    )]
    TensorCount { object: String, count: usize },

    #[error(
        "`{object}` has a tensor name of {bytes} bytes that begins with `{start}`; \
         the limit is {NAME_LIMIT_BYTES}"
    )]
    NameLength { object: String, start: String, bytes: usize },

    #[error("`{object}` has a tensor name with a control character in it: `{escaped}`")]
    NameControl { object: String, escaped: String },

    #[error(
        "`{object}` lists tensor `{tensor}` twice\n\
         hint: readers disagree about which one counts; write the file again"
    )]
    DuplicateTensor { object: String, tensor: String },

    #[error(
        "tensor `{tensor}` of `{object}` has the dtype `{dtype}`, which the format does not have"
    )]
    UnknownDtype { object: String, tensor: String, dtype: String },

    #[error("tensor `{tensor}` of `{object}` begins at offset {begin}, after its end {end}")]
    Backwards { object: String, tensor: String, begin: u64, end: u64 },

    #[error(
        "tensor `{tensor}` of `{object}` has more elements than can be counted: {dtype} {shape:?}"
    )]
    SizeOverflow { object: String, tensor: String, dtype: Dtype, shape: Vec<u64> },

    #[error("tensor `{tensor}` of `{object}` ends within a byte: {dtype} {shape:?}")]
    PartialByte { object: String, tensor: String, dtype: Dtype, shape: Vec<u64> },

    #[error(
        "tensor `{tensor}` of `{object}` takes {found} bytes, but {dtype} {shape:?} needs {needed}"
    )]
    SizeMismatch {
        object: String,
        tensor: String,
        dtype: Dtype,
        shape: Vec<u64>,
        found: u64,
        needed: u64,
    },

    #[error(
        "tensors `{first}` and `{second}` of `{object}` overlap: the first ends at offset {end}, \
         the second begins at {begin}"
    )]
    Overlap { object: String, first: String, second: String, end: u64, begin: u64 },

    #[error(
        "the data of `{object}` has a gap at offsets {from}..{to}, before tensor `{tensor}`\n\
         hint: the format allows none; write the file again with a safetensors library"
    )]
    Gap { object: String, tensor: String, from: u64, to: u64 },

    #[error(
        "`{object}` ends at byte {found}, but its header needs {needed}: tensor `{tensor}` is \
         cut off\n\
         hint: the object is truncated; upload it again"
    )]
    DataTruncated { object: String, tensor: String, found: u64, needed: u64 },

    #[error(
        "`{object}` has {found} bytes, but its tensors end at {needed}\n\
         hint: the format allows nothing after the last tensor; upload the object again"
    )]
    TrailingData { object: String, found: u64, needed: u64 },

    // The index.
    #[error("`{object}` has {bytes} bytes; the limit of an index is {INDEX_LIMIT_BYTES}")]
    IndexLength { object: String, bytes: usize },

    #[error("`{object}` is not a safetensors index: {reason}")]
    IndexJson { object: String, reason: serde_json::Error },

    #[error("the `weight_map` of `{object}` is empty\nhint: save the model again, with its index")]
    IndexEmpty { object: String },

    #[error("the `weight_map` of `{object}` lists tensor `{tensor}` twice")]
    IndexDuplicate { object: String, tensor: String },

    #[error(
        "`{object}` maps tensor `{tensor}` to `{shard}`, which is not a plain file name\n\
         hint: shards are files beside the index; paths are never followed"
    )]
    ShardName { object: String, tensor: String, shard: String },

    // The index and the shards.
    #[error("two shards are called `{shard}`")]
    DuplicateShard { shard: String },

    #[error(
        "the index maps tensor `{tensor}` to `{shard}`, which is not there\n\
         hint: upload the shard, or the index that belongs to the shards that are there"
    )]
    ShardMissing { tensor: String, shard: String },

    #[error(
        "the index maps tensor `{tensor}` to `{shard}`, but that shard does not hold \
         it{elsewhere}\n\
         hint: index and shards come from different saves; upload both again"
    )]
    IndexMismatch { tensor: String, shard: String, elsewhere: String },

    #[error(
        "tensor `{tensor}` is in two shards: `{first}` and `{second}`\n\
         hint: files of two saves may be mixed; upload the model again into an empty folder"
    )]
    TensorTwice { tensor: String, first: String, second: String },

    #[error(
        "the tensors up to shard `{shard}` take {bytes} bytes; the limit is {MODEL_LIMIT_BYTES}"
    )]
    ModelSize { shard: String, bytes: u64 },

    // The model's wishes and the files.
    #[error(
        "the model needs tensor `{tensor}`, which none of the {count} tensors of its files is\n\
         hint: the nearest names are {near}; config.json may belong to another checkpoint"
    )]
    TensorMissing { tensor: String, count: usize, near: String },

    #[error(
        "tensor `{tensor}` of `{object}` is {found:?}, but config.json implies {wanted:?}\n\
         hint: config.json and weights belong to different models, or one of them is stale"
    )]
    Shape { object: String, tensor: String, found: Vec<u64>, wanted: Vec<u64> },

    #[error(
        "tensor `{tensor}` of `{object}` has dtype {dtype}, which is not supported\n\
         hint: supported are {supported}; save the model in one of them"
    )]
    Dtype { object: String, tensor: String, dtype: Dtype, supported: String },

    #[error("tensor `{tensor}` is wanted by both `{first}` and `{second}`; it can be placed once")]
    WantedTwice { tensor: String, first: String, second: String },

    #[error("row {row} of tensor `{tensor}` is wanted, which has {rows} rows")]
    Row { tensor: String, row: u32, rows: u64 },
}
