use proptest::prelude::*;
use proptest::sample::Index as Pick;
use safetensors::SafeTensors;

use super::*;
use crate::samples::{Spec, Written, head, json, lay_out, tensor};

fn entry(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

fn parse(json: &str, data_bytes: u64) -> Result<Head, Error> {
    let head = head(json);
    Header::parse("m.safetensors", &head, head.len() as u64 + data_bytes)
}

/// The message for a header that is wrong, without its hint.
#[track_caller]
fn refusal(json: &str, data_bytes: u64) -> String {
    let message = parse(json, data_bytes).expect_err("a refusal").to_string();
    message.lines().next().expect("a line").to_owned()
}

#[test]
fn ranges_count_from_the_first_byte() {
    let json = format!(
        r#"{{"b":{},"__metadata__":{{"format":"pt"}},"a":{}}}  "#,
        entry("BF16", "[2,3]", "[4,16]"),
        entry("F32", "[]", "[0,4]")
    );
    let Ok(Head::Complete(header)) = parse(&json, 16) else { panic!("{:?}", parse(&json, 16)) };
    let start = 8 + json.len() as u64;
    let found: Vec<_> = header.tensors().collect();
    assert_eq!(found[0].name, "a");
    assert_eq!((found[0].dtype, &found[0].range), (Dtype::F32, &(start..start + 4)));
    assert_eq!(found[1].shape, [2, 3]);
    assert_eq!((found[1].dtype, &found[1].range), (Dtype::BF16, &(start + 4..start + 16)));
    assert_eq!(header.metadata()["format"], "pt");
}

#[test]
fn a_head_that_is_too_short_asks_for_more() {
    let head = head(json(&lay_out(&[("a".into(), Dtype::F32, vec![4])])));
    let size = head.len() as u64 + 16;
    let more = |read: usize| match Header::parse("m", &head[..read], size) {
        Ok(Head::More { needed }) => needed,
        other => panic!("{other:?}"),
    };
    assert_eq!(more(7), size);
    assert_eq!(more(8), head.len() as u64);
    assert_eq!(more(head.len() - 1), head.len() as u64);
    assert!(matches!(Header::parse("m", &head, size), Ok(Head::Complete(_))));
    assert!(matches!(Header::parse("m", &[], 1 << 40), Ok(Head::More { needed: HEAD_BYTES })));
}

#[test]
fn no_tensors_is_a_file() {
    assert!(matches!(parse("{}", 0), Ok(Head::Complete(header)) if header.tensors().count() == 0));
}

#[test]
fn impossible_lengths() {
    let refusal = |head: &[u8], size| Header::parse("m", head, size).expect_err("a refusal");
    assert!(matches!(refusal(&[], 7), Error::TooShort { size: 7, .. }));
    assert!(matches!(refusal(&[0; 8], 8), Error::HeaderLength { bytes: 0, .. }));
    assert!(matches!(refusal(&[0xff; 8], u64::MAX), Error::HeaderLength { bytes: u64::MAX, .. }));
    let long = (HEADER_LIMIT_BYTES + 1).to_le_bytes();
    assert!(matches!(refusal(&long, u64::MAX), Error::HeaderLength { .. }));
    let cut = refusal(&100u64.to_le_bytes(), 107);
    assert!(matches!(cut, Error::HeaderTruncated { found: 107, needed: 108, .. }), "{cut}");
}

#[test]
fn other_kinds_of_file_are_recognised() {
    let hint = |head: &[u8]| Header::parse("m", head, 1 << 20).expect_err("a refusal").to_string();
    assert!(hint(b"version https://git-lfs.github.com/spec/v1").contains("Git LFS"));
    assert!(hint(b"PK\x03\x04\0\0\x08\x08").contains("pickle, which is never loaded"));
    assert!(hint(b"\x80\x02\x8a\nl\xfc\x9cF").contains("pickle, which is never loaded"));
    assert!(hint(b"GGUF\x03\0\0\0").contains("GGUF"));
    assert!(hint(b"<!DOCTYPE html>").contains("web page"));
    assert!(hint(b"{\"a\":{\"dtype\"").contains("JSON without"));
}

#[test]
fn text_that_is_no_header() {
    assert_eq!(refusal(" {}", 0), "the header of `m.safetensors` begins with ' ' instead of `{`");
    let message = refusal(r#"{"a":{"dtype":"F32",}}"#, 0);
    assert!(message.ends_with("trailing comma at line 1 column 21"), "{message}");
    let message = refusal(r#"{"a":{"dtype":"F32","shape":[],"shape":[]}}"#, 0);
    assert!(message.contains("duplicate field `shape` at line 1 column 38"), "{message}");
    let message = refusal(r#"{"a":{"dtype":"F32","shape":[-1]}}"#, 0);
    assert!(message.contains("invalid value: integer `-1`, expected u64"), "{message}");
    let message = refusal(r#"{"a":{"dtype":"F32","shape":[1]}}"#, 0);
    assert!(message.contains("missing field `data_offsets`"), "{message}");
    let message = refusal(r#"{"__metadata__":{},"__metadata__":{}}"#, 0);
    assert!(message.contains("duplicate field `__metadata__`"), "{message}");
    let head = head(b"{\"a\xff\":1}");
    let error = Header::parse("m", &head, 99).expect_err("a refusal");
    assert!(matches!(error, Error::HeaderUtf8 { at: 11, .. }), "{error}");
}

#[test]
fn other_members_are_allowed_but_must_be_json() {
    let with = |member: &str| {
        let file = file(
            format!(r#"{{"a":{{"dtype":"U8","shape":[],{member},"data_offsets":[0,1]}}}}"#),
            1,
        );
        agree(&file).expect("the library's judgement");
        Header::parse("m", &file, file.len() as u64).is_ok()
    };
    assert!(with(r#""note":{"by":["x",null,-1.5]}"#));
    assert!(!with(r#""note":"\ud800""#));
    assert!(!with(r#""note":1e999"#));
    assert!(!with(&format!(r#""note":{}{}"#, "[".repeat(200), "]".repeat(200))));
}

#[test]
fn names() {
    let a = entry("U8", "[1]", "[0,1]");
    assert_eq!(
        refusal(&format!(r#"{{"a":{a},"a":{a}}}"#), 1),
        "`m.safetensors` lists tensor `a` twice"
    );
    let message = refusal(&format!(r#"{{"\u001b[2J":{a}}}"#), 1);
    assert!(message.ends_with(r"a control character in it: `\u{1b}[2J`"), "{message}");
    let long = "x".repeat(NAME_LIMIT_BYTES + 1);
    let message = refusal(&format!(r#"{{"{long}":{a}}}"#), 1);
    assert!(message.contains("a tensor name of 1025 bytes that begins with `xxx"), "{message}");
    let many: Vec<_> =
        (0..=TENSORS_LIMIT).map(|i| format!(r#""{i}":{}"#, entry("U8", "[0]", "[0,0]"))).collect();
    let message = refusal(&format!("{{{}}}", many.join(",")), 0);
    assert_eq!(message, "`m.safetensors` lists 131073 tensors; the limit is 131072 a shard");
}

#[test]
fn tensors_that_contradict_themselves() {
    let refusal = |dtype, shape, offsets| {
        refusal(&format!(r#"{{"a":{}}}"#, entry(dtype, shape, offsets)), 16)
    };
    assert_eq!(
        refusal("F31", "[4]", "[0,16]"),
        "tensor `a` of `m.safetensors` has the dtype `F31`, which the format does not have"
    );
    assert_eq!(
        refusal("F32", "[4]", "[16,0]"),
        "tensor `a` of `m.safetensors` begins at offset 16, after its end 0"
    );
    assert_eq!(
        refusal("F32", "[4,2]", "[0,16]"),
        "tensor `a` of `m.safetensors` takes 16 bytes, but F32 [4, 2] needs 32"
    );
    for shape in ["[4294967296,4294967296]", "[4294967296,4294967296,0]", "[2305843009213693952]"] {
        assert!(refusal("F64", shape, "[0,16]").contains("more elements than can be counted"));
    }
    assert!(refusal("F4", "[33]", "[0,16]").contains("ends within a byte: F4 [33]"));
}

#[test]
fn tensors_that_do_not_tile_the_object() {
    let two = |first, second| {
        let (a, b) = (entry("U8", "[8]", first), entry("U8", "[8]", second));
        format!(r#"{{"a":{a},"b":{b}}}"#)
    };
    assert_eq!(
        refusal(&two("[0,8]", "[7,15]"), 15),
        "tensors `a` and `b` of `m.safetensors` overlap: the first ends at offset 8, \
         the second begins at 7"
    );
    assert_eq!(
        refusal(&two("[0,8]", "[10,18]"), 18),
        "the data of `m.safetensors` has a gap at offsets 8..10, before tensor `b`"
    );
    assert!(
        refusal(&two("[9,17]", "[1,9]"), 17).contains("gap at offsets 0..1, before tensor `b`")
    );
    let good = two("[8,16]", "[0,8]");
    let header = 8 + good.len();
    assert_eq!(
        refusal(&good, 15),
        format!(
            "`m.safetensors` ends at byte {}, but its header needs {}: tensor `a` is cut off",
            header + 15,
            header + 16
        )
    );
    assert_eq!(
        refusal(&good, 17),
        format!(
            "`m.safetensors` has {} bytes, but its tensors end at {}",
            header + 17,
            header + 16
        )
    );
    assert!(refusal("{}", 1).contains("its tensors end at 10"));
    // Eight of these end 8 bytes before the last u64, and the header does not fit between.
    let huge = |i| (format!("a{i}"), Dtype::U8, vec![u64::MAX >> 3]);
    let message = refusal(&json(&lay_out(&(0..8).map(huge).collect::<Vec<_>>())), 1);
    assert!(message.contains("needs 18446744073709551615: tensor `a0` is cut off"), "{message}");
}

/// What we refuse on purpose although the format's own library reads it.
fn is_stricter_than_the_library(error: &Error) -> bool {
    matches!(
        error,
        Error::HeaderStart { .. }
            | Error::DuplicateTensor { .. }
            | Error::NameLength { .. }
            | Error::NameControl { .. }
            | Error::TensorCount { .. }
    ) || matches!(error, Error::HeaderLength { bytes, .. } if *bytes > HEADER_LIMIT_BYTES)
}

/// A whole file means to us what it means to the format's own library.
fn agree(file: &[u8]) -> Result<(), TestCaseError> {
    match (Header::parse("m", file, file.len() as u64), SafeTensors::deserialize(file)) {
        (Ok(Head::Complete(ours)), Ok(theirs)) => same(&ours, &theirs, file),
        (Err(_), Err(_)) => Ok(()),
        (Err(error), Ok(_)) => {
            prop_assert!(is_stricter_than_the_library(&error), "refused: {error}");
            Ok(())
        }
        (ours, theirs) => Err(TestCaseError::fail(format!("{ours:?} but {:?}", theirs.err()))),
    }
}

fn same(ours: &Header, theirs: &SafeTensors, file: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.tensors().count(), theirs.len());
    for tensor in ours.tensors() {
        let view = theirs.tensor(&tensor.name).expect("a tensor of both");
        let shape: Vec<u64> = view.shape().iter().map(|n| *n as u64).collect();
        prop_assert_eq!((tensor.dtype, &tensor.shape), (view.dtype(), &shape));
        let start = view.data().as_ptr().addr() - file.as_ptr().addr();
        prop_assert_eq!(&tensor.range, &(start as u64..(start + view.data().len()) as u64));
    }
    Ok(())
}

/// A file whose every byte of data is 0.
fn file(json: impl AsRef<[u8]>, data_bytes: u64) -> Vec<u8> {
    let mut file = head(json);
    file.resize(file.len() + usize::try_from(data_bytes).expect("a small file"), 0);
    file
}

/// Tensors of a valid file, written in any order.
fn tensors() -> impl Strategy<Value = Vec<Written>> {
    let specs = prop::collection::vec(tensor(), 0..6).prop_map(|tensors| {
        let named = |(i, (dtype, shape))| (format!("layer.{i}"), dtype, shape);
        lay_out(&tensors.into_iter().enumerate().map(named).collect::<Vec<Spec>>())
    });
    specs.prop_shuffle()
}

fn data_bytes(tensors: &[Written]) -> u64 {
    tensors.iter().map(|tensor| tensor.end).max().unwrap_or(0)
}

/// Something that a broken writer would get wrong.
fn break_tensor(tensors: &mut Vec<Written>, kind: u8, at: Pick, by: u64) {
    if tensors.is_empty() {
        return;
    }
    let dtypes = ["F16", "U8", "F4", "F31", ""];
    let at = at.index(tensors.len());
    let tensor = &mut tensors[at];
    match kind {
        0 => tensor.begin = tensor.begin.wrapping_add(by),
        1 => tensor.end = tensor.end.wrapping_sub(by),
        2 => tensor.shape.push(by),
        3 => tensor.dtype = dtypes[at % dtypes.len()].into(),
        4 => {
            tensor.begin = tensor.begin.wrapping_add(by);
            tensor.end = tensor.end.wrapping_add(by);
        }
        5 => tensor.name = "layer.0".into(),
        6 => tensor.name = r"\u0007".into(),
        _ => drop(tensors.remove(at)),
    }
}

proptest! {
    #[test]
    fn valid_files_are_read_as_the_library_reads_them(tensors in tensors(), padding in 0usize..9) {
        let json = json(&tensors) + &" ".repeat(padding);
        let file = file(json, data_bytes(&tensors));
        prop_assert!(matches!(Header::parse("m", &file, file.len() as u64), Ok(Head::Complete(_))));
        agree(&file)?;
    }

    #[test]
    fn wrong_tensors_are_judged_as_the_library_judges_them(
        mut tensors in tensors(),
        breaks in prop::collection::vec((0u8..8, any::<Pick>(), number()), 1..3),
        lost in -1i64..=1,
    ) {
        let size = data_bytes(&tensors);
        for (kind, at, by) in breaks {
            break_tensor(&mut tensors, kind, at, by);
        }
        agree(&file(json(&tensors), size.saturating_add_signed(lost)))?;
    }

    #[test]
    fn damaged_headers_are_judged_as_the_library_judges_them(
        tensors in tensors(),
        edits in prop::collection::vec((any::<Pick>(), 0usize..3, damage()), 1..4),
        fix_length in any::<bool>(),
    ) {
        let mut text = json(&tensors).into_bytes();
        let honest = text.len() as u64;
        for (at, removed, inserted) in edits {
            let start = at.index(text.len().max(1)).min(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted);
        }
        let mut file = file(&text, data_bytes(&tensors));
        if !fix_length {
            file[..8].copy_from_slice(&honest.to_le_bytes());
        }
        agree(&file)?;
    }

    #[test]
    fn noise_never_panics(
        mut head in prop::collection::vec(any::<u8>(), 0..64),
        size in any::<u64>(),
        short in any::<bool>(),
    ) {
        if short && head.len() >= 8 {
            head[1..8].fill(0);
        }
        if let Ok(Head::Complete(header)) = Header::parse("m", &head, size) {
            prop_assert!(header.tensors().all(|tensor| tensor.range.end <= size));
        }
    }
}

/// Small numbers and any others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..9, any::<u64>()]
}

/// Bytes that JSON cares about, whole members, and any others.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"0",
        b"1",
        b"-1",
        b"1e3",
        b" ",
        b"null",
        b"\\ud800",
        b"\"x\":[{\"y\":null}],",
        b"\"x\":1e999,",
        b"99999999999999999999",
        b"\"__metadata__\":{},",
    ];
    prop_oneof![
        3 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ]
}
