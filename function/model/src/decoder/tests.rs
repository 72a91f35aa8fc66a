use std::{cell::RefCell, collections::HashMap, io, path::PathBuf, rc::Rc};

use bytes::Bytes;
use firstlight_device::{Cpu, Cuda, DType, Isa, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::*;
use crate::{Sequence, TensorSpec};

mod trace;

const FIXTURES: [&str; 5] = ["llama3-rope", "llama-untied", "mistral-swa", "qwen2", "qwen3"];

/// A tiny model with what transformers computes of it; see `tests/fixtures/make_tiny.py`.
struct Fixture {
    name: &'static str,
    spec: Spec,
    tensors: HashMap<String, Tensor>,
    ids: Vec<u32>,
    logits: Vec<f32>, // (ids, vocab_size)
    greedy: Vec<u32>, // after the first 8 ids
}

impl Fixture {
    fn all() -> impl Iterator<Item = Self> {
        FIXTURES.into_iter().map(Self::read)
    }

    fn read(name: &'static str) -> Self {
        // Asked for when it runs, since it may be where it was not built: cargo says it then, too.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
        let fixtures = PathBuf::from(manifest).join("../../tests/fixtures");
        let path = |suffix: &str| fixtures.join(format!("tiny-random-{name}{suffix}"));
        let spec = Spec::parse(&std::fs::read(path("/config.json")).unwrap()).unwrap();

        let mut tensors = HashMap::new();
        for entry in path("").read_dir().unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "safetensors") {
                read_shard(&Bytes::from(std::fs::read(file).unwrap()), &mut tensors);
            }
        }
        let reference = std::fs::read(path(".ref.safetensors")).unwrap();
        let reference = SafeTensors::deserialize(&reference).unwrap();
        let ids = reference.tensor("input_ids").unwrap().data().as_chunks().0;
        let logits = reference.tensor("logits").unwrap().data().as_chunks().0;
        let json: Value =
            serde_json::from_slice(&std::fs::read(path(".ref.json")).unwrap()).unwrap();
        let greedy = json["prompt8_greedy32"].as_array().unwrap();
        Self {
            name,
            spec,
            tensors,
            ids: ids.iter().map(|id| u32::try_from(i64::from_le_bytes(*id)).unwrap()).collect(),
            logits: logits.iter().copied().map(f32::from_le_bytes).collect(),
            greedy: greedy.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect(),
        }
    }

    fn tensor(&self, wanted: &TensorSpec) -> Tensor {
        let tensor = &self.tensors[&wanted.name];
        assert_eq!(tensor.shape(), wanted.shape, "{} of {}", wanted.name, self.name);
        tensor.clone()
    }

    fn group<D: Device>(&self, device: &D, stage: crate::Stage) -> Group<D::Tensor> {
        let upload = |wanted: &TensorSpec| device.upload(&self.tensor(wanted)).unwrap();
        let tensors = stage.tensors.iter().map(|wanted| (wanted.name.clone(), upload(wanted)));
        Group { tensors: tensors.collect(), stage: stage.name }
    }

    /// All stages, and the names of those that have been pulled.
    fn groups<D: Device>(&self, device: &D, order: StageOrder) -> (Groups<D::Tensor>, Pulled)
    where
        D::Tensor: 'static,
    {
        let stages = self.spec.stages(order).into_iter();
        let groups: Vec<_> = stages.map(|stage| self.group(device, stage)).collect();
        let pulled = Pulled::default();
        let record = Rc::clone(&pulled);
        let groups = groups.into_iter().map(move |group| {
            record.borrow_mut().push(group.stage.clone());
            Ok(group)
        });
        (Box::new(groups), pulled)
    }

    fn decoder(&self, order: StageOrder, chunk_rows: usize) -> (OnCpu, Pulled) {
        let (groups, pulled) = self.groups(&Cpu::new(), order);
        (self.decoder_of(Cpu::new(), order, chunk_rows, groups), pulled)
    }

    /// With all stages, the embedding first.
    fn decoder_on<D: Device>(&self, device: D, chunk_rows: usize) -> On<D>
    where
        D::Tensor: 'static,
    {
        let order = StageOrder::EmbeddingFirst;
        let (groups, _) = self.groups(&device, order);
        self.decoder_of(device, order, chunk_rows, groups)
    }

    fn decoder_of<D: Device>(
        &self,
        device: D,
        order: StageOrder,
        chunk_rows: usize,
        groups: Groups<D::Tensor>,
    ) -> On<D> {
        let settings = settings(order, Sequence::blocks_for(self.ids.len()), chunk_rows);
        Alone::new(Decoder::new(device, self.spec.clone(), settings, groups).unwrap())
    }

    /// For a longer context than that of the references.
    fn decoder_on_blocks<D: Device>(&self, device: D, blocks: usize) -> On<D>
    where
        D::Tensor: 'static,
    {
        let settings = settings(StageOrder::EmbeddingFirst, blocks, DEFAULT_CHUNK_ROWS);
        let (groups, _) = self.groups(&device, settings.order);
        Alone::new(Decoder::new(device, self.spec.clone(), settings, groups).unwrap())
    }

    /// Of its weights.
    fn dtype(&self) -> DType {
        self.tensors[self.spec.embedding_name()].dtype()
    }

    fn largest_logit(&self) -> f32 {
        self.logits.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()))
    }

    /// The rows of some tokens, cut out of the table.
    fn rows(&self, ids: &[u32]) -> PromptRows<Tensor> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let table = &self.tensors[self.spec.embedding_name()];
        let row_bytes = self.spec.hidden_size * table.dtype().bytes();
        let row = |&id: &u32| &table.bytes()[id as usize * row_bytes..][..row_bytes];
        let bytes = Bytes::from(ids.iter().map(row).collect::<Vec<_>>().concat());
        let shape = vec![ids.len(), self.spec.hidden_size];
        PromptRows { table: Tensor::from_bytes(bytes, table.dtype(), shape).unwrap(), ids }
    }

    fn stage_names(&self, order: StageOrder) -> Vec<String> {
        self.spec.stages(order).into_iter().map(|stage| stage.name).collect()
    }
}

/// Logits of a few rows at a time.
fn settings(order: StageOrder, blocks: usize, chunk_rows: usize) -> Settings {
    Settings { order, blocks, chunk_rows, logits_rows: 5 }
}

/// A decoder for one sequence.
struct Alone<D: Device, I> {
    decoder: Decoder<D, I>,
    sequence: Sequence,
}

impl<D, I> Alone<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, io::Error>>,
{
    fn new(decoder: Decoder<D, I>) -> Self {
        Self { sequence: Sequence::alone(decoder.settings().blocks), decoder }
    }

    /// The logits of the last id.
    fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.sequence.forward(&mut self.decoder, ids)?;
        self.decoder.logits()
    }

    fn forward_all(&mut self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.sequence.forward_all(&mut self.decoder, ids)
    }
}

type Groups<T> = Box<dyn Iterator<Item = Result<Group<T>, io::Error>>>;
type On<D> = Alone<D, Groups<<D as Device>::Tensor>>;
type OnCpu = On<Cpu>;
type Pulled = Rc<RefCell<Vec<String>>>;

pub(crate) fn read_shard(file: &Bytes, tensors: &mut HashMap<String, Tensor>) {
    for (name, view) in SafeTensors::deserialize(file).unwrap().tensors() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => panic!("no fixture is in {other:?}"),
        };
        let bytes = file.slice_ref(view.data());
        let tensor = Tensor::from_bytes(bytes, dtype, view.shape().to_vec()).unwrap();
        assert!(tensors.insert(name, tensor).is_none());
    }
}

/// A NaN is as far away as can be.
pub(crate) fn max_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { max.max(d) })
}

#[test]
fn every_checkpoint_tensor_is_in_one_stage() {
    for fixture in Fixture::all() {
        for order in [StageOrder::LayersFirst, StageOrder::EmbeddingFirst] {
            let stages = fixture.spec.stages(order);
            let mut names: Vec<_> =
                stages.into_iter().flat_map(|stage| stage.tensors).map(|t| t.name).collect();
            names.sort_unstable();
            let mut expected: Vec<_> = fixture.tensors.keys().cloned().collect();
            expected.sort_unstable();
            assert_eq!(names, expected, "{} {order:?}", fixture.name);
            let sizes = fixture.tensors.values().map(|t| t.shape().iter().product::<usize>());
            assert_eq!(fixture.spec.parameters(), sizes.sum::<usize>() as u64);
        }
    }
}

/// A device that must compute what transformers does.
trait Backend: Device<Tensor: 'static> + Sized {
    /// Each way in which it computes such a model, the usual one last.
    fn all(fixture: &Fixture) -> Vec<Self>;

    fn usual(fixture: &Fixture) -> Self {
        Self::all(fixture).pop().expect("there is one")
    }

    /// How far its logits may be from the references, which were computed in f32.
    fn bound(&self, fixture: &Fixture) -> f32;

    /// Whether a row's bits do not depend on the rows beside it.
    const EXACT: bool;

    /// In how many ways a prompt is cut: a stand-in takes seconds for a pass.
    const CUTS: usize;
}

impl Backend for Cpu {
    fn all(_: &Fixture) -> Vec<Self> {
        Isa::available().into_iter().map(Self::with).collect()
    }

    /// Activations that are rounded to bf16 are off by up to 0.2 % in each product, and these weights are random, so
    /// that nothing keeps the error small: up to 1.8 % of the largest logit was seen.
    fn bound(&self, fixture: &Fixture) -> f32 {
        let rounds = self.isa().has_bf16_dot() && fixture.dtype() == DType::BF16;
        if rounds { 0.04 * fixture.largest_logit() } else { 1e-4 }
    }

    const EXACT: bool = true;

    const CUTS: usize = 4;
}

impl Backend for Cuda {
    fn all(fixture: &Fixture) -> Vec<Self> {
        let keeps = [fixture.dtype(), DType::F32];
        let open = || Self::open(firstlight_stand_in::device()).unwrap();
        keeps.map(|dtype| open().with_cache(dtype)).into()
    }

    /// Products of many rows round them to the 16 bits of their weights, and the cache its keys and values.
    fn bound(&self, fixture: &Fixture) -> f32 {
        let relative = if fixture.dtype() == DType::F32 { 1e-4 } else { 0.02 };
        relative * fixture.largest_logit()
    }

    /// Few rows go another way than many.
    const EXACT: bool = false;

    const CUTS: usize = 2;
}

/// Makes each check a test on each backend.
macro_rules! backend_tests {
    ($($check:ident),+) => {
        mod cpu {
            $(#[test] fn $check() { super::$check::<super::Cpu>() })+
        }
        mod cuda {
            $(#[test] fn $check() { super::$check::<super::Cuda>() })+
        }
    };
}

backend_tests!(
    logits_are_those_of_transformers,
    greedy_tokens_are_those_of_transformers,
    logits_do_not_depend_on_how_the_prompt_is_cut,
    rows_of_the_prompt_are_as_good_as_the_table,
    sequences_beside_each_other_are_as_alone,
    who_joins_a_pass_that_loads_is_as_alone
);

fn logits_are_those_of_transformers<B: Backend>() {
    for fixture in Fixture::all() {
        for device in B::all(&fixture) {
            let bound = device.bound(&fixture);
            let mut decoder = fixture.decoder_on(device, DEFAULT_CHUNK_ROWS);
            let logits = decoder.forward_all(&fixture.ids).unwrap();
            let difference = max_difference(&logits, &fixture.logits);
            assert!(difference <= bound, "{}: {difference:e}, bound {bound:e}", fixture.name);
        }
    }
}

fn greedy_tokens_are_those_of_transformers<B: Backend>() {
    for fixture in Fixture::all() {
        let device = B::usual(&fixture);
        let mut decoder = fixture.decoder_on(device, DEFAULT_CHUNK_ROWS);
        let mut logits = decoder.forward(&fixture.ids[..8]).unwrap();
        let mut tokens = Vec::new();
        while tokens.len() < fixture.greedy.len() {
            // The references were made with as many tokens as asked for: no end of text.
            for &id in &fixture.spec.eos_ids {
                logits[id as usize] = f32::NEG_INFINITY;
            }
            let best = (0_u32..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            tokens.push(best);
            logits = decoder.forward(&[best]).unwrap();
        }
        assert_eq!(tokens, fixture.greedy, "{}", fixture.name);
    }
}

fn logits_do_not_depend_on_how_the_prompt_is_cut<B: Backend>() {
    for fixture in Fixture::all() {
        let decoder = |chunk_rows| {
            let device = B::usual(&fixture);
            let bound = if B::EXACT { 0.0 } else { device.bound(&fixture) };
            (fixture.decoder_on(device, chunk_rows), bound)
        };
        let (mut whole, bound) = decoder(DEFAULT_CHUNK_ROWS);
        let expected = whole.forward_all(&fixture.ids).unwrap();
        assert_eq!(whole.sequence.position(), fixture.ids.len());
        let cuts = [(7, vec![64]), (16, vec![5, 1, 40, 17, 1]), (1, vec![64]), (512, vec![1; 64])];
        for (chunk_rows, calls) in cuts.into_iter().take(B::CUTS) {
            let (mut decoder, _) = decoder(chunk_rows);
            let mut rest = &fixture.ids[..];
            let mut logits = Vec::new();
            for rows in &calls {
                let (ids, behind) = rest.split_at(*rows);
                logits.extend(decoder.forward_all(ids).unwrap());
                rest = behind;
            }
            let difference = max_difference(&logits, &expected);
            assert!(difference <= bound, "{}: {chunk_rows} {calls:?}", fixture.name);
        }
        let (mut last, _) = decoder(10);
        let logits = last.forward(&fixture.ids).unwrap();
        let difference = max_difference(&logits, &expected[expected.len() - logits.len()..]);
        assert!(difference <= bound, "{}", fixture.name);
    }
}

fn rows_of_the_prompt_are_as_good_as_the_table<B: Backend>() {
    for fixture in Fixture::all() {
        let device = || B::usual(&fixture);
        let mut by_table = fixture.decoder_on(device(), 512);
        let device = device();
        let order = StageOrder::LayersFirst;
        let (groups, _) = fixture.groups(&device, order);
        let PromptRows { table, ids } = fixture.rows(&fixture.ids[..40]);
        let table = device.upload(&table).unwrap();
        let mut by_rows = fixture.decoder_of(device, order, 512, groups);
        by_rows.decoder.give_rows(PromptRows { table, ids });
        for ids in [&fixture.ids[..40], &fixture.ids[40..]] {
            let expected = by_table.forward_all(ids).unwrap();
            assert!(by_rows.forward_all(ids).unwrap() == expected, "{}", fixture.name);
        }
    }
}

/// Sequences that begin, go on and end beside each other, in blocks that lie crosswise. Where the
/// cache can have 16 bits it has, so that some rows of a pass attend in tiles and some do not.
fn sequences_beside_each_other_are_as_alone<B: Backend>() {
    for fixture in Fixture::all().take(B::CUTS) {
        let device = B::all(&fixture).swap_remove(0);
        let bound = if B::EXACT { 0.0 } else { device.bound(&fixture) };
        let order = StageOrder::EmbeddingFirst;
        let (groups, _) = fixture.groups(&device, order);
        let settings = settings(order, 9, 48);
        let mut decoder = Decoder::new(device, fixture.spec.clone(), settings, groups).unwrap();
        let ids = fixture.ids.repeat(3);
        let sequences = [
            (&ids[..100], vec![8, 1, 4]),
            (&ids[20..150], vec![2, 0, 5]),
            (&ids[7..80], vec![6, 3]),
        ];
        let mut found = sequences.each_ref().map(|_| Vec::new());
        let mut held = [0; 3];
        for counts in [[60, 0, 5], [1, 70, 1], [1, 1, 1], [0, 58, 66], [38, 1, 0]] {
            let rows = |index: usize| {
                let ((ids, blocks), first) = (&sequences[index], held[index]);
                Rows { ids: &ids[first..first + counts[index]], first, blocks, logits: index != 1 }
            };
            let rows: Vec<_> = (0..3).map(rows).filter(|rows| !rows.ids.is_empty()).collect();
            decoder.forward(&rows).unwrap();
            let mut logits = &decoder.logits().unwrap()[..];
            for index in 0..3 {
                held[index] += counts[index];
                if counts[index] > 0 && index != 1 {
                    let own = logits.split_off(..fixture.spec.vocab_size).unwrap();
                    found[index].push((held[index], own.to_vec()));
                }
            }
            assert!(logits.is_empty());
        }
        assert_eq!(held, sequences.each_ref().map(|(ids, _)| ids.len()));
        for ((ids, _), found) in sequences.iter().zip(found) {
            let mut alone = fixture.decoder_on_blocks(B::all(&fixture).swap_remove(0), 3);
            let expected = alone.forward_all(ids).unwrap();
            for (end, logits) in found {
                let expected = &expected[(end - 1) * logits.len()..end * logits.len()];
                assert!(max_difference(&logits, expected) <= bound, "{} {end}", fixture.name);
            }
        }
    }
}

/// Behind the first layer, behind all but one, and before the logits; and beside those of a pass that
/// was given up. No stage is pulled before its layer is due.
fn who_joins_a_pass_that_loads_is_as_alone<B: Backend>() {
    for fixture in Fixture::all().take(B::CUTS) {
        let device = B::usual(&fixture);
        let bound = if B::EXACT { 0.0 } else { device.bound(&fixture) };
        let (groups, pulled) = fixture.groups(&device, StageOrder::EmbeddingFirst);
        let settings = settings(StageOrder::EmbeddingFirst, 9, 48);
        let mut decoder = Decoder::new(device, fixture.spec.clone(), settings, groups).unwrap();
        let ids = fixture.ids.repeat(2);
        let prompts = [&ids[..100], &ids[20..80], &ids[7..12], &ids[3..4]];
        let blocks: [&[u32]; 4] = [&[8, 1], &[2], &[6, 3], &[4, 0]];
        let last = fixture.spec.layers - 1;
        let joins_behind = [None, Some(0), Some(last - 1), Some(last)];
        let rows = |index: usize, first: usize| {
            let rows = Rows { ids: prompts[index], first, blocks: blocks[index], logits: true };
            if first == 0 { rows } else { Rows { ids: &prompts[index][..1], ..rows } }
        };
        decoder.open(&[rows(1, 0)]).unwrap();
        assert!(decoder.advance().unwrap());
        decoder.open(&[rows(0, 0)]).unwrap();
        for layer in 0..=last {
            assert!(decoder.advance().unwrap());
            assert_eq!(pulled.borrow().len(), 1 + (layer + 1).max(1));
            for index in (1..4).filter(|&index| joins_behind[index] == Some(layer)) {
                decoder.join(&[rows(index, 0)]).unwrap();
            }
        }
        assert!(!decoder.advance().unwrap());
        let first = decoder.logits().unwrap();
        decoder.forward(&[0, 1, 2, 3].map(|index| rows(index, prompts[index].len()))).unwrap();
        let second = decoder.logits().unwrap();
        let vocabulary = fixture.spec.vocab_size;
        for (index, prompt) in prompts.into_iter().enumerate() {
            let mut alone = fixture.decoder_on_blocks(B::usual(&fixture), 3);
            let own = index * vocabulary..(index + 1) * vocabulary;
            for (found, ids) in [(&first, prompt), (&second, &prompt[..1])] {
                let expected = alone.forward(ids).unwrap();
                let difference = max_difference(&found[own.clone()], &expected);
                assert!(difference <= bound, "{} {index} {difference:e}", fixture.name);
            }
        }
    }
}

#[test]
fn stages_are_pulled_in_order_and_the_untied_table_after_the_first_logits() {
    for fixture in Fixture::all() {
        let stages = fixture.stage_names(StageOrder::LayersFirst);
        let untied = usize::from(!fixture.spec.tie_word_embeddings);
        let (mut decoder, pulled) = fixture.decoder(StageOrder::LayersFirst, 512);
        let (prompt, rest) = fixture.ids.split_at(8);
        decoder.decoder.give_rows(fixture.rows(prompt));
        assert!(pulled.borrow().is_empty());
        decoder.forward(prompt).unwrap();
        decoder.forward(&prompt[2..5]).unwrap();
        assert_eq!(*pulled.borrow(), stages[..stages.len() - untied], "{}", fixture.name);
        decoder.forward(&rest[..1]).unwrap();
        assert_eq!(*pulled.borrow(), stages, "{}", fixture.name);
        assert_eq!(stages.last().unwrap(), if untied == 1 { "embeddings" } else { "head" });
    }
}

/// It costs the overlap and nothing else.
#[test]
fn a_token_that_is_not_among_the_rows_waits_for_the_table() {
    for fixture in Fixture::all() {
        let (mut by_table, _) = fixture.decoder(StageOrder::EmbeddingFirst, 512);
        let (mut decoder, pulled) = fixture.decoder(StageOrder::LayersFirst, 512);
        decoder.decoder.give_rows(fixture.rows(&fixture.ids[..8]));
        let logits = decoder.forward(&fixture.ids[..9]).unwrap();
        assert!(logits == by_table.forward(&fixture.ids[..9]).unwrap(), "{}", fixture.name);
        assert_eq!(*pulled.borrow(), fixture.stage_names(StageOrder::LayersFirst));
    }
}

#[test]
fn wrong_ids_are_refused_and_change_nothing() {
    let fixture = Fixture::read("qwen2");
    let (mut decoder, pulled) = fixture.decoder(StageOrder::EmbeddingFirst, 512);
    let mut refusal = |ids: &[u32]| decoder.forward(ids).unwrap_err().to_string();
    assert_eq!(refusal(&[]), "there is no token to run: the prompt is empty");
    assert_eq!(
        refusal(&[1, 511, 512]),
        "token id 512 at position 2 is not below the vocabulary size 512"
    );
    assert_eq!(
        refusal(&[1; 65]),
        "65 tokens behind the 0 in the cache are more than its capacity of 64; \
         shorten the prompt or load with a larger context"
    );
    assert!(pulled.borrow().is_empty());
    let logits = decoder.forward_all(&fixture.ids).unwrap();
    assert!(max_difference(&logits, &fixture.logits) <= Cpu::new().bound(&fixture));
    assert!(matches!(decoder.forward(&[1]), Err(Error::Capacity { new: 1, held: 64, .. })));
}

#[test]
fn an_error_of_the_loader_comes_through_and_ends_the_decoder() {
    let fixture = Fixture::read("qwen3");
    let (groups, _) = fixture.groups(&Cpu::new(), StageOrder::EmbeddingFirst);
    let lost = io::Error::new(io::ErrorKind::ConnectionReset, "range 3 of `model` was reset");
    let groups: Groups<_> = Box::new(groups.take(3).chain([Err(lost)]));
    let mut decoder = fixture.decoder_of(Cpu::new(), StageOrder::EmbeddingFirst, 4, groups);
    let error = decoder.forward(&[1, 2, 3]).unwrap_err();
    assert_eq!(error.to_string(), "range 3 of `model` was reset");
    let Error::Load(error) = error else { panic!("{error:?}") };
    let kind = error.downcast_ref::<io::Error>().unwrap().kind();
    assert_eq!(kind, io::ErrorKind::ConnectionReset);
    assert!(matches!(decoder.forward(&[1]), Err(Error::Unfinished)));
}

#[test]
fn a_load_that_is_not_as_planned_is_refused() {
    let fixture = Fixture::read("llama-untied");
    let order = StageOrder::LayersFirst;
    let refusal = |groups: Vec<Group<Tensor>>| {
        let groups = groups.into_iter().map(Ok::<_, io::Error>);
        let mut decoder = fixture.decoder_of(Cpu::new(), order, 8, Box::new(groups));
        decoder.forward(&[5]).unwrap_err().to_string()
    };
    let groups = || -> Vec<_> {
        fixture
            .spec
            .stages(order)
            .into_iter()
            .map(|stage| fixture.group(&Cpu::new(), stage))
            .collect()
    };
    let mut short = groups();
    short.truncate(2);
    assert_eq!(refusal(short), "the load ended before `layer 2`");
    let mut swapped = groups();
    swapped.swap(0, 1);
    assert_eq!(refusal(swapped), "the load brought `layer 1` where `layer 0` was due");
    let mut gapped = groups();
    gapped[3].tensors.remove("model.layers.3.mlp.up_proj.weight");
    assert_eq!(
        refusal(gapped),
        "`layer 3` came without tensor `model.layers.3.mlp.up_proj.weight`"
    );
}
