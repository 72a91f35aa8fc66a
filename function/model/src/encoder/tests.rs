use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use firstlight_device::{Cpu, Cuda, DType, Gelu, Isa, Tensor};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;
use crate::decoder::tests::{max_difference, read_shard};
use crate::{Pooling, Stage};

/// A tiny model with what transformers computes of it; see `tests/fixtures/make_tiny.py`.
#[derive(Clone)]
struct Fixture {
    config: Value,
    tensors: HashMap<String, Tensor>,
    texts: Vec<Vec<u32>>,
    /// `(tokens, hidden_size)` of each text.
    hidden: Vec<Vec<f32>>,
}

impl Fixture {
    fn read() -> Self {
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let file = |name: &str| std::fs::read(fixtures.join(name)).unwrap();
        let mut tensors = HashMap::new();
        read_shard(&Bytes::from(file("tiny-random-bert/model.safetensors")), &mut tensors);
        let reference = file("tiny-random-bert.ref.safetensors");
        let reference = SafeTensors::deserialize(&reference).unwrap();
        let words = |name: &str| -> Vec<u32> {
            let words = reference.tensor(name).unwrap().data().as_chunks().0;
            words.iter().map(|word| u32::try_from(i64::from_le_bytes(*word)).unwrap()).collect()
        };
        let (ids, mask) = (words("input_ids"), words("attention_mask"));
        let hidden = reference.tensor("last_hidden_state").unwrap().data().as_chunks().0;
        let hidden: Vec<_> = hidden.iter().copied().map(f32::from_le_bytes).collect();
        // The texts are padded with tokens that are masked.
        let lengths = mask.chunks(40).map(|mask| mask.iter().sum::<u32>() as usize);
        let lengths: Vec<_> = lengths.collect();
        let whole = ids.chunks(40).zip(hidden.chunks(40 * 64)).zip(&lengths);
        Self {
            config: serde_json::from_slice(&file("tiny-random-bert/config.json")).unwrap(),
            tensors,
            texts: whole.clone().map(|((ids, _), &length)| ids[..length].to_vec()).collect(),
            hidden: whole.map(|((_, rows), &length)| rows[..length * 64].to_vec()).collect(),
        }
    }

    fn spec(&self) -> EncoderSpec {
        EncoderSpec::parse(self.config.to_string().as_bytes()).unwrap()
    }

    fn names(&self) -> Names {
        Names::find(|name| self.tensors.contains_key(name))
    }

    fn texts(&self) -> Vec<&[u32]> {
        self.texts.iter().map(Vec::as_slice).collect()
    }

    fn group<D: Device>(&self, device: &D, stage: Stage) -> Group<D::Tensor> {
        let upload = |wanted: &crate::TensorSpec| {
            let tensor = &self.tensors[&wanted.name];
            assert_eq!(tensor.shape(), wanted.shape, "{}", wanted.name);
            (wanted.name.clone(), device.upload(tensor).unwrap())
        };
        Group { tensors: stage.tensors.iter().map(upload).collect(), stage: stage.name }
    }

    fn encoder<D: Device<Tensor: 'static>>(&self, device: D, sentence: Sentence) -> On<D> {
        let (spec, names) = (self.spec(), self.names());
        let stages = spec.stages(names).into_iter();
        let groups: Vec<_> = stages.map(|stage| Ok(self.group(&device, stage))).collect();
        let groups: Groups<_> = Box::new(groups.into_iter());
        let settings = EncoderSettings { names, sentence, max_rows: 300, max_texts: 16 };
        Encoder::new(device, spec, settings, groups).unwrap()
    }

    /// The last rows of all texts, by an encoder that has not been used.
    fn forward<D: Device<Tensor: 'static>>(&self, device: D) -> Vec<f32> {
        self.encoder(device, MEAN).forward(&self.texts()).unwrap()
    }

    /// Weights in another type, of 16 bits.
    fn stored_as(mut self, dtype: DType) -> Self {
        for tensor in self.tensors.values_mut() {
            let floats = tensor.bytes().as_chunks().0.iter().copied().map(u32::from_le_bytes);
            let halves = floats.map(if dtype == DType::BF16 { bf16_bits } else { f16_bits });
            let bytes: Vec<u8> = halves.flat_map(u16::to_le_bytes).collect();
            let shape = tensor.shape().to_vec();
            *tensor = Tensor::from_bytes(bytes.into(), dtype, shape).unwrap();
        }
        self
    }
}

/// The upper half of an f32.
fn bf16_bits(float: u32) -> u16 {
    u16::try_from(float >> 16).unwrap()
}

/// The binary16 next to an f32 on the side of zero; of what is less than 2^-14, zero.
fn f16_bits(float: u32) -> u16 {
    let (sign, exponent) = (float >> 31 << 15, float >> 23 & 0xff);
    let bits = if exponent < 113 { 0 } else { (exponent - 112) << 10 | float >> 13 & 0x3ff };
    u16::try_from(sign | bits).unwrap()
}

type On<D> = Encoder<D, Groups<<D as Device>::Tensor>>;
type Groups<T> = Box<dyn Iterator<Item = Result<Group<T>, io::Error>>>;

const MEAN: Sentence =
    Sentence { pooling: Pooling::Mean, normalize: true, max_tokens: None, lower_case: false };

/// The devices that must compute what transformers does.
fn each_device(check: impl Fn(&str, &dyn Fn(&Fixture) -> Vec<f32>)) {
    for isa in Isa::available() {
        check(isa.name(), &|fixture| fixture.forward(Cpu::with(isa)));
    }
    let open = || Cuda::open(firstlight_stand_in::device()).unwrap();
    check("cuda", &|fixture| fixture.forward(open()));
}

#[test]
fn rows_are_those_of_transformers() {
    let fixture = Fixture::read();
    let expected = fixture.hidden.concat();
    each_device(|name, forward| {
        let difference = max_difference(&forward(&fixture), &expected);
        assert!(difference < 5e-6, "{name}: {difference:e}");
    });
}

/// The rows are of the order of one. Where activations are rounded to the 16 bits of the weights, each product is off by
/// up to 0.2 % for bf16.
#[test]
fn weights_of_16_bits_are_close() {
    let fixture = Fixture::read();
    let expected = fixture.hidden.concat();
    for (dtype, bound) in [(DType::F16, 0.02), (DType::BF16, 0.12)] {
        let fixture = fixture.clone().stored_as(dtype);
        each_device(|name, forward| {
            let difference = max_difference(&forward(&fixture), &expected);
            assert!(difference < bound, "{name} {dtype}: {difference:e}");
        });
    }
}

#[test]
fn a_text_is_the_same_alone_and_beside_others_and_whatever_was_before() {
    for isa in Isa::available() {
        let fixture = Fixture::read();
        let mut encoder = fixture.encoder(Cpu::with(isa), MEAN);
        let long: Vec<u32> = (0..120).map(|i| i * 7 % 500).collect();
        let texts = [&fixture.texts[0][..], &long, &[3], &fixture.texts[1]];
        let together = encoder.embed(&texts).unwrap();
        for (text, embedding) in texts.iter().zip(&together) {
            let alone = encoder.embed(&[text]).unwrap();
            assert_eq!(alone[0], *embedding, "{isa}");
        }
        assert!(encoder.embed(&[]).unwrap().is_empty());
    }
}

/// `RoBERTa` skips the rows of its table of positions up to that of the padding.
#[test]
fn positions_counted_from_the_padding_are_further_down_in_the_table() {
    let bert = Fixture::read();
    let mut roberta = bert.clone();
    let name = "embeddings.position_embeddings.weight";
    let table = &bert.tensors[name];
    let bytes = [&[0x7f; 3 * 64 * 4], table.bytes()].concat();
    let table = Tensor::from_bytes(bytes.into(), DType::F32, vec![131, 64]).unwrap();
    roberta.tensors.insert(name.to_owned(), table);
    for (field, value) in [
        ("architectures", json!(["XLMRobertaModel"])),
        ("model_type", json!("xlm-roberta")),
        ("pad_token_id", json!(2)),
        ("max_position_embeddings", json!(131)),
    ] {
        roberta.config[field] = value;
    }
    assert_eq!(roberta.spec().max_tokens(), 128);
    assert_eq!(roberta.forward(Cpu::new()), bert.forward(Cpu::new()));
    let places: Vec<_> = roberta.spec().places(&[0, 9, 2, 7]).collect();
    assert_eq!(places, [3, 4, 2, 5], "padding stands at its own row");
}

#[test]
fn a_checkpoint_may_name_its_tensors_in_other_ways() {
    let fixture = Fixture::read();
    let expected = fixture.forward(Cpu::new());
    let mut old = fixture.clone();
    old.tensors.insert(
        "embeddings.position_ids".to_owned(),
        fixture.tensors.values().next().unwrap().clone(),
    );
    assert_eq!(old.forward(Cpu::new()), expected, "what is not asked for is left alone");
    let rename = |name: String| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        format!("bert.{}", name.replace("LayerNorm.bias", "LayerNorm.beta"))
    };
    old.tensors = old.tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect();
    assert_eq!(old.forward(Cpu::new()), expected);
}

#[test]
fn every_tensor_of_the_checkpoint_is_in_one_stage() {
    let fixture = Fixture::read();
    let stages = fixture.spec().stages(fixture.names());
    let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["embeddings", "layer 0", "layer 1", "layer 2"]);
    let tensors = stages.into_iter().flat_map(|stage| stage.tensors);
    let mut tensors: Vec<_> = tensors.map(|tensor| tensor.name).collect();
    let mut expected: Vec<_> = fixture.tensors.keys().cloned().collect();
    tensors.sort_unstable();
    expected.sort_unstable();
    assert_eq!(tensors, expected);
    let sizes = fixture.tensors.values().map(|tensor| tensor.shape().iter().product::<usize>());
    assert_eq!(fixture.spec().parameters(), sizes.sum::<usize>() as u64);
}

#[test]
fn stages_are_pulled_as_they_are_needed_or_ahead() {
    let fixture = Fixture::read();
    let mut encoder = fixture.encoder(Cpu::new(), MEAN);
    let pulls: Vec<_> = (0..5).map(|_| encoder.pull().unwrap()).collect();
    assert_eq!(pulls, [true, true, true, false, false]);
    assert_eq!(encoder.forward(&fixture.texts()).unwrap(), fixture.forward(Cpu::new()));
}

#[test]
fn wrong_texts_are_refused_and_change_nothing() {
    let fixture = Fixture::read();
    let sentence = Sentence { max_tokens: Some(30), ..MEAN };
    let mut encoder = fixture.encoder(Cpu::new(), sentence);
    let mut refusal = |ids: &[u32]| encoder.embed(&[&[1], ids]).unwrap_err().to_string();
    assert_eq!(refusal(&[]), "there is no token to run: the prompt is empty");
    assert_eq!(
        refusal(&[1, 512]),
        "token id 512 at position 1 is not below the vocabulary size 512"
    );
    assert_eq!(refusal(&[1; 31]), "the text has 31 tokens, more than the 30 that the model takes");
    assert_eq!(encoder.embed(&[&[1; 30]]).unwrap()[0].len(), 64);
}

#[test]
fn embeddings_are_what_the_pooling_keeps_of_the_rows() {
    let fixture = Fixture::read();
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
        for normalize in [false, true] {
            let sentence = Sentence { pooling, normalize, ..MEAN };
            let embeddings = fixture.encoder(Cpu::new(), sentence).embed(&fixture.texts()).unwrap();
            for (embedding, rows) in embeddings.iter().zip(&fixture.hidden) {
                let column = |column| rows.iter().skip(column).step_by(64).map(|&x| f64::from(x));
                let pooled = |at| match pooling {
                    Pooling::Cls => column(at).next().unwrap(),
                    Pooling::Mean => column(at).sum::<f64>() / column(at).count() as f64,
                    Pooling::Max => column(at).fold(f64::NEG_INFINITY, f64::max),
                };
                let pooled: Vec<_> = (0..64).map(pooled).collect();
                let length = pooled.iter().map(|x| x * x).sum::<f64>().sqrt();
                let length = if normalize { length } else { 1.0 };
                let far = |(x, y): (&f32, &f64)| (f64::from(*x) - y / length).abs() > 5e-6;
                assert!(!embedding.iter().zip(&pooled).any(far), "{pooling:?} {normalize}");
            }
        }
    }
}

#[test]
fn a_config_is_read_and_what_is_not_computed_is_refused() {
    let spec = Fixture::read().spec();
    assert_eq!((spec.architecture, spec.head_dim(), spec.max_tokens()), ("BertModel", 16, 128));
    assert_eq!((spec.gelu, spec.layer_norm_eps, spec.padding), (Gelu::Exact, 1e-12, None));
    let parse = |field: &str, value: Value| {
        let mut config = Fixture::read().config;
        config[field] = value;
        EncoderSpec::parse(config.to_string().as_bytes()).map_err(|error| error.to_string())
    };
    assert_eq!(parse("hidden_act", json!("gelu_new")).unwrap().gelu, Gelu::Tanh);
    for (field, value) in [
        ("hidden_act", json!("relu")),
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("hidden_size", json!(66)),
        ("num_attention_heads", json!(0)),
        ("type_vocab_size", json!(null)),
        ("quantization_config", json!({"quant_method": "gptq"})),
    ] {
        let error = parse(field, value).unwrap_err();
        assert!(error.contains(field) || error.contains("quantized"), "{error}");
    }
    let error = parse("architectures", json!(["LlamaForCausalLM"])).unwrap_err();
    assert!(error.contains("`LlamaForCausalLM` with model_type `bert`"), "{error}");
    let error = parse("architectures", json!(["MPNetModel"])).unwrap_err();
    assert!(error.contains("`MPNetModel` is not supported") && error.contains("`BertModel`"));
    let bert = Fixture::read().config.to_string();
    let error = crate::Spec::parse(bert.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("embed"), "{error}");
    assert!(matches!(crate::Kind::parse(bert.as_bytes()), Ok(crate::Kind::Encoder(_))));
}
