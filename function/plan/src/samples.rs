//! Safetensors files for the tests: written by hand, so that they can be wrong in every way.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::select;
use safetensors::Dtype;

use crate::{Head, Header, Shard};

/// A member of a header as it is written, right or wrong.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

/// A tensor that is to be laid out.
pub(crate) type Spec = (String, Dtype, Vec<u64>);

/// Tensors one after the other, as a writer would place them.
pub(crate) fn lay_out(specs: &[Spec]) -> Vec<Written> {
    let mut begin = 0;
    let place = |(name, dtype, shape): &Spec| {
        let end = begin + shape.iter().product::<u64>() * dtype.bitsize() as u64 / 8;
        let shape = shape.clone();
        let written = Written { name: name.clone(), dtype: dtype.to_string(), shape, begin, end };
        begin = end;
        written
    };
    specs.iter().map(place).collect()
}

/// The JSON of a header.
pub(crate) fn json(tensors: &[Written]) -> String {
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    for Written { name, dtype, shape, begin, end } in tensors {
        write!(
            json,
            r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        )
        .expect("a string takes every write");
    }
    json + "}"
}

/// Length and JSON: everything of an object but its data.
pub(crate) fn head(json: impl AsRef<[u8]>) -> Vec<u8> {
    let json = json.as_ref();
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}

/// A shard with the tensors of `specs`.
pub(crate) fn shard(name: &str, specs: &[Spec]) -> Shard {
    let tensors = lay_out(specs);
    let head = head(json(&tensors));
    let size = head.len() as u64 + tensors.last().map_or(0, |last| last.end);
    match Header::parse(name, &head, size) {
        Ok(Head::Complete(header)) => Shard { name: name.into(), size, header },
        other => panic!("{other:?}"),
    }
}

/// A small tensor of any dtype that ends at a byte; now and then an empty one or a scalar.
pub(crate) fn tensor() -> impl Strategy<Value = (Dtype, Vec<u64>)> {
    use Dtype::{BF16, BOOL, F4, F6_E2M3, F8_E4M3, F16, F32, F64, I8, I64};
    let dtype = select(vec![BF16, F16, F32, F64, I8, I64, BOOL, F8_E4M3, F4, F6_E2M3]);
    (dtype, prop::collection::vec(0u64..6, 0..4)).prop_map(|(dtype, mut shape)| {
        if dtype.bitsize() % 8 != 0 {
            shape.push(4);
        }
        (dtype, shape)
    })
}
