//! A GGUF file: metadata, and tensors in ggml's blocks.
//!
//! Written from <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> and, for the blocks, from the structures
//! in ggml's `ggml-common.h`. It reads the block formats that the models of these tests have. The file comes from a
//! package that was checked by its hash: what does not parse is a bug here, and panics.

use std::collections::HashMap;
use std::path::Path;
use std::{fs, io};

use half::f16;

/// A parsed file, in memory.
pub(crate) struct Gguf {
    bytes: Vec<u8>,
    data_offset: usize,
    metadata: HashMap<String, Value>,
    pub(crate) tensors: Vec<TensorInfo>,
}

/// A value of the metadata. The widths of integers are of no interest here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// Where a tensor lies and how.
#[derive(Debug, Clone)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Rows first, as safetensors has it; GGUF itself puts the contiguous dimension first.
    pub(crate) shape: Vec<usize>,
    block: Block,
    /// From the start of the data section.
    offset: usize,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut cursor = Cursor { bytes: &bytes, at: 0 };
        assert_eq!(cursor.take(4), b"GGUF");
        assert_eq!(cursor.u32(), 3, "the version of the format");
        let (tensor_count, pair_count) = (cursor.len(), cursor.len());
        let metadata: HashMap<_, _> =
            (0..pair_count).map(|_| (cursor.text(), cursor.value())).collect();
        let tensors = (0..tensor_count).map(|_| cursor.tensor_info()).collect();
        let data_offset = cursor.at.next_multiple_of(ALIGNMENT);
        assert!(!metadata.contains_key("general.alignment"), "it would replace the default");
        Ok(Self { bytes, data_offset, metadata, tensors })
    }

    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> &Value {
        self.metadata.get(key).unwrap_or_else(|| panic!("no `{key}` in the metadata"))
    }

    /// The tensor's values in f32, row-major.
    pub(crate) fn values(&self, tensor: &TensorInfo) -> Vec<f32> {
        let count: usize = tensor.shape.iter().product();
        let start = self.data_offset + tensor.offset;
        let blocks = count / tensor.block.values();
        let bytes = &self.bytes[start..start + blocks * tensor.block.bytes()];
        let mut values = Vec::with_capacity(count);
        bytes.chunks_exact(tensor.block.bytes()).for_each(|b| tensor.block.unpack(b, &mut values));
        assert_eq!(values.len(), count, "`{}` is whole blocks", tensor.name);
        values
    }
}

impl Value {
    #[track_caller]
    pub(crate) fn integer(&self) -> usize {
        let Self::Integer(integer) = *self else { panic!("{self:?} is not an integer") };
        usize::try_from(integer).expect("sizes and ids are not negative")
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("{self:?} is not a text") };
        text
    }

    #[track_caller]
    pub(crate) fn list(&self) -> &[Value] {
        let Self::List(list) = self else { panic!("{self:?} is not a list") };
        list
    }

    #[track_caller]
    pub(crate) fn float(&self) -> f64 {
        let Self::Float(float) = *self else { panic!("{self:?} is not a float") };
        float
    }
}

/// How values are packed. Little-endian throughout.
#[derive(Debug, Clone, Copy)]
enum Block {
    F32,
    /// 32 values: f16 scale `d`, f16 minimum `m`, 16 bytes of nibbles; value = d q + m. Byte `j` holds the values
    /// `j` (low nibble) and `j + 16` (high nibble).
    Q4_1,
    /// 32 values: f16 scale `d`, 32 signed bytes; value = d q.
    Q8_0,
}

impl Block {
    fn from_id(id: u32) -> Self {
        match id {
            0 => Self::F32,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            _ => panic!("ggml type {id} is in none of the models of these tests"),
        }
    }

    fn values(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Q4_1 | Self::Q8_0 => 32,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Q4_1 => 2 + 2 + 16,
            Self::Q8_0 => 2 + 32,
        }
    }

    fn unpack(self, block: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.push(f32::from_le_bytes(array(block))),
            Self::Q4_1 => {
                let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
                let quants = &block[4..];
                values.extend(quants.iter().map(|q| f32::from(q & 0x0f) * scale + minimum));
                values.extend(quants.iter().map(|q| f32::from(q >> 4) * scale + minimum));
            }
            Self::Q8_0 => {
                let scale = half_at(block, 0);
                values.extend(block[2..].iter().map(|q| f32::from(q.cast_signed()) * scale));
            }
        }
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes(array(&block[at..at + 2])).to_f32()
}

/// What is read next.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(array(self.take(4)))
    }

    fn len(&mut self) -> usize {
        usize::try_from(u64::from_le_bytes(array(self.take(8)))).expect("it is in memory")
    }

    fn text(&mut self) -> String {
        let length = self.len();
        String::from_utf8(self.take(length).to_vec()).expect("GGUF says UTF-8")
    }

    fn value(&mut self) -> Value {
        let kind = self.u32();
        self.value_of(kind)
    }

    fn value_of(&mut self, kind: u32) -> Value {
        match kind {
            4 => Value::Integer(self.u32().into()),
            5 => Value::Integer(i32::from_le_bytes(array(self.take(4))).into()),
            6 => Value::Float(shortest(f32::from_le_bytes(array(self.take(4))))),
            7 => Value::Bool(self.take(1)[0] != 0),
            8 => Value::Text(self.text()),
            9 => {
                let (kind, count) = (self.u32(), self.len());
                Value::List((0..count).map(|_| self.value_of(kind)).collect())
            }
            _ => panic!("metadata type {kind} is in none of the models of these tests"),
        }
    }

    fn tensor_info(&mut self) -> TensorInfo {
        let name = self.text();
        let dimensions = self.u32();
        let mut shape: Vec<_> = (0..dimensions).map(|_| self.len()).collect();
        shape.reverse();
        TensorInfo { name, shape, block: Block::from_id(self.u32()), offset: self.len() }
    }
}

/// The number that was meant: 1e-5 was stored as an f32, and a config.json has it in full.
fn shortest(stored: f32) -> f64 {
    stored.to_string().parse().expect("a float prints as a float")
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

/// The data section and each tensor in it start at multiples of this.
const ALIGNMENT: usize = 32;
