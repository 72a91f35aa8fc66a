//! Whatever the first bytes of an object are, [`Header::parse`] answers, and what it accepts tiles
//! the object.
//!
//! An input is read twice: as the head of an object, and as the JSON of one whose length is right,
//! so that the fuzzer need not find that out. The size of the second is the one that the header
//! itself claims.
//!
//! From the root of the repository (a stable compiler will do, with `RUSTC_BOOTSTRAP=1`):
//!
//! ```text
//! cd tests/fuzz && mkdir -p corpus/header cargo fuzz run header --fuzz-dir . corpus/header
//! seeds/header -- -dict=header.dict -max_total_time=60 ```

#![no_main]

use firstlight_plan::{Error, Head, Header};
use libfuzzer_sys::fuzz_target;
use safetensors::tensor::Metadata;

fuzz_target!(|input: &[u8]| {
    for size in [input.len() as u64, u64::MAX] {
        check(input, size);
    }
    let mut head = (input.len() as u64).to_le_bytes().to_vec();
    head.extend(input);
    let least = head.len() as u64;
    check(&head, least);
    match Header::parse("o", &head, u64::MAX) {
        Err(Error::TrailingData { needed, .. }) => {
            let tiles = check(&head, needed);
            assert!(tiles, "{needed} bytes are what the header claims");
            oracle(input, needed - least);
        }
        Err(_) => {}
        Ok(_) => panic!("no header fills an object of 2^64 bytes"),
    }
});

/// Parses, and says whether the header was complete; if so, its tensors tile what follows it.
fn check(head: &[u8], size: u64) -> bool {
    match Header::parse("o", head, size) {
        Ok(Head::Complete(header)) => {
            let length = head[..8].try_into().expect("a complete header has a length");
            let mut end = 8 + u64::from_le_bytes(length);
            for tensor in header.tensors() {
                assert_eq!(tensor.range.start, end, "`{}`", tensor.name);
                assert!(tensor.range.end >= end, "`{}`", tensor.name);
                end = tensor.range.end;
            }
            assert_eq!(end, size);
            true
        }
        Ok(Head::More { needed }) => {
            assert!(needed > head.len() as u64 && needed <= size);
            false
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// The format's own library accepts what we accept.
fn oracle(json: &[u8], data_bytes: u64) {
    let metadata: Metadata = serde_json::from_slice(json).expect("the library reads it as well");
    assert_eq!(metadata.data_len() as u64, data_bytes);
}
