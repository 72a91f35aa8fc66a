//! A published model, from a package registry: SmolLM2-135M-Instruct, as its authors' code has it.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use firstlight_bucket::{Bucket, Objects, Running};
use firstlight_device::{Cpu, DType, Isa, Tensor};
use firstlight_generate::{ChatTemplate, Message, Tokenizer};
use firstlight_model::{Decoder, Group, Sequence, Spec, StageOrder};
use libtest_mimic::{Arguments, run};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use support::checkpoint::StoredAs;
use support::demo_model;
use support::engine::{self, Load, group, load, settings};
use support::needs::{Missing, trial};
use support::process::Firstlight;
use support::references::References;
use support::seaweedfs::SeaweedFs;
use support::smollm2::{smollm2, smollm2_in_shards};

mod support;

fn main() {
    let trials = vec![
        trial("f32_folder_is_the_published_model", f32_folder, |folder: PathBuf| {
            is_stock(&folder, Dtype::F32, F32_SUM);
        }),
        trial("bf16_folder_is_the_published_model", bf16_folder, |folder: PathBuf| {
            is_stock(&folder, Dtype::BF16, BF16_SUM);
        }),
        trial("shards_hold_the_same_tensors", bf16_folders, |(one, three): (PathBuf, PathBuf)| {
            same_tensors(&one, &three);
        }),
        trial("the_tokenizer_gives_the_reference_ids", bf16_folder, |f: PathBuf| tokenizes(&f)),
        trial("the_chat_template_gives_the_reference_prompt", bf16_folder, |f: PathBuf| chats(&f)),
        trial("seaweedfs_serves", SeaweedFs::start, |server: SeaweedFs| serves(&server)),
        trial("logits_over_bf16_weights_are_the_references", bf16_folder, |folder: PathBuf| {
            answers(&folder, DType::BF16);
        }),
        trial("logits_over_f32_weights_are_the_references", bf16_folder, |folder: PathBuf| {
            answers(&folder, DType::F32);
        }),
        trial("the_binary_writes_the_reference_texts", bf16_folder, |f: PathBuf| writes(&f)),
        trial(
            "every_store_gives_the_same_text",
            everywhere,
            |(one, shards, server): Everywhere| {
                same_from_everywhere(&one, &shards, &server);
            },
        ),
        trial("peak_memory_is_the_weights_and_little_more", bf16_folder, |f: PathBuf| fits(&f)),
    ];
    run(&Arguments::from_args(), trials).exit();
}

fn f32_folder() -> Result<PathBuf, Missing> {
    smollm2(StoredAs::F32)
}

fn bf16_folder() -> Result<PathBuf, Missing> {
    smollm2(StoredAs::Bf16)
}

fn bf16_folders() -> Result<(PathBuf, PathBuf), Missing> {
    Ok((bf16_folder()?, smollm2_in_shards(StoredAs::Bf16, 3)?))
}

/// The weights are, bit for bit, those that the `gguf` package's own code makes of the file.
fn is_stock(folder: &Path, dtype: Dtype, sum: u64) {
    let bytes = fs::read(folder.join("model.safetensors")).expect("one file");
    let (header_bytes, metadata) = SafeTensors::read_metadata(&bytes).expect("it opens");
    assert_eq!(metadata.tensors().len(), 1 + 30 * 9 + 1, "the output head is tied");
    assert!(metadata.tensors().values().all(|tensor| tensor.dtype == dtype));
    let embedding = metadata.info("model.embed_tokens.weight").expect("it is there");
    assert_eq!(embedding.shape, [49_152, 576]);
    assert_eq!(weighted_sum(&bytes[8 + header_bytes..]), sum, "the bytes of the weights");
}

/// The sum of all 64-bit words, each times its place: it notices a change of a bit and of the order.
fn weighted_sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    words.zip(1_u64..).fold(0, |sum, (word, place)| sum.wrapping_add(word.wrapping_mul(place)))
}

fn same_tensors(one: &Path, three: &Path) {
    let one = fs::read(one.join("model.safetensors")).expect("one file");
    let one = SafeTensors::deserialize(&one).expect("it opens");
    let index = fs::read(three.join("model.safetensors.index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let weight_map = index["weight_map"].as_object().expect("names to files");
    assert_eq!(weight_map.len(), one.len());
    for number in 1..=3 {
        let name = format!("model-{number:05}-of-00003.safetensors");
        let shard = fs::read(three.join(&name)).expect("the shard");
        for (tensor, view) in SafeTensors::deserialize(&shard).expect("it opens").iter() {
            assert_eq!(weight_map[tensor], name.as_str());
            assert_eq!(view, one.tensor(tensor).expect("the same names"), "`{tensor}`");
        }
    }
}

fn tokenizes(folder: &Path) {
    let tokenizer = fs::read(folder.join("tokenizer.json")).expect("the folder has it");
    let tokenizer = Tokenizer::parse(&tokenizer).expect("it parses");
    let references = References::read(MODEL);
    for item in &references.items {
        let ids = tokenizer.encode(&item.prompt, !item.chat).expect("it is short");
        assert_eq!(ids, item.input_ids, "{:?}", item.prompt);
        let text = tokenizer.decode(&item.greedy32).expect("they are ids");
        assert_eq!(text, item.greedy32_text);
    }
    for case in &references.tokenizer_cases {
        let ids = tokenizer.encode(&case.text, false).expect("it is short");
        assert_eq!(ids, case.ids, "{:?}", case.text);
    }
}

fn chats(folder: &Path) {
    let config = fs::read(folder.join("tokenizer_config.json")).expect("the folder has it");
    let template = ChatTemplate::parse(Some(&config), None).expect("it compiles");
    let question = Message::user("What is gravity? Answer in one sentence.");
    let prompt = template.render(&[question], true).expect("it renders");
    let references = References::read(MODEL);
    let chat = references.items.iter().find(|item| item.chat).expect("one is a chat");
    assert_eq!(prompt, chat.prompt);
}

/// The largest logits after each prompt, and the 32 tokens that follow, are the references. Those were computed in f32
/// from the weights of the bf16 folder, so that the same numbers stored in f32 must give them too. Where activations are
/// rounded to bf16, the logits are off by some hundredths of 18, and the tokens are the same.
fn answers(folder: &Path, stored_as: DType) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let Load { spec, layers, .. } = runtime.block_on(load(engine::folder(folder), FIRST));
    let layers: Vec<_> =
        layers.map(|layer| stored(group(layer).expect("it is whole"), stored_as)).collect();
    let best = Isa::best();
    let rounds = best.has_bf16_dot() && stored_as == DType::BF16;
    let exact =
        Isa::available().into_iter().rfind(|isa| !isa.has_bf16_dot()).expect("the portable code");
    for (isa, tolerance) in [(exact, 1e-3), (best, if rounds { 0.25 } else { 1e-3 })] {
        for item in &References::read(MODEL).items {
            let (logits, tokens) = greedy_tokens(isa, &spec, &layers, &item.input_ids);
            for (id, expected) in item.top8_ids.iter().zip(&item.top8_logits) {
                let found = logits[*id as usize];
                let apart = (found - expected).abs();
                assert!(
                    apart <= tolerance,
                    "{isa}, {:?}: {id} has {found}, not {expected}",
                    item.prompt
                );
            }
            assert_eq!(tokens, item.greedy32, "{isa}, {:?}", item.prompt);
        }
    }
}

/// The logits after the prompt, and 32 tokens: as in the references, the end-of-text token is never taken.
fn greedy_tokens(
    isa: Isa,
    spec: &Spec,
    layers: &[Group<Tensor>],
    ids: &[u32],
) -> (Vec<f32>, Vec<u32>) {
    let groups = layers.iter().map(|group| {
        Ok::<_, Infallible>(Group { stage: group.stage.clone(), tensors: group.tensors.clone() })
    });
    let settings = settings(FIRST, ids.len() + 32);
    let mut decoder = Decoder::new(Cpu::with(isa), spec.clone(), settings, groups).expect("memory");
    let mut sequence = Sequence::alone(settings.blocks);
    sequence.forward(&mut decoder, ids).expect("they are ids");
    let first = decoder.logits().expect("they are there");
    let mut tokens = vec![likeliest(&first, &spec.eos_ids)];
    while tokens.len() < 32 {
        sequence.forward(&mut decoder, &tokens[tokens.len() - 1..]).expect("it is an id");
        let logits = decoder.logits().expect("they are there");
        tokens.push(likeliest(&logits, &spec.eos_ids));
    }
    (first, tokens)
}

fn likeliest(logits: &[f32], never: &[u32]) -> u32 {
    assert!(logits.iter().all(|logit| logit.is_finite()));
    let ids = (0_u32..).zip(logits).filter(|(id, _)| !never.contains(id));
    ids.max_by(|a, b| a.1.total_cmp(b.1)).expect("a vocabulary").0
}

/// A layer of the same numbers, stored in another way.
fn stored(mut group: Group<Tensor>, as_dtype: DType) -> Group<Tensor> {
    for tensor in group.tensors.values_mut().filter(|tensor| tensor.dtype() != as_dtype) {
        assert_eq!((tensor.dtype(), as_dtype), (DType::BF16, DType::F32), "a bf16 is half an f32");
        let mut bytes = vec![0; tensor.bytes().len() * 2];
        for (float, half) in
            bytes.as_chunks_mut::<4>().0.iter_mut().zip(tensor.bytes().as_chunks::<2>().0)
        {
            *float = [0, 0, half[0], half[1]];
        }
        let shape = tensor.shape().to_vec();
        *tensor = Tensor::from_bytes(bytes.into(), DType::F32, shape).expect("the same shape");
    }
    group
}

/// The real binary, greedy, on a folder: the text that the authors' code writes, up to where the model ends it.
fn writes(folder: &Path) {
    let mut whole = 0;
    for item in References::read(MODEL).items {
        let text = greedy(folder.to_str().expect("UTF-8"), &item.prompt, []);
        let text = text.strip_suffix('\n').expect("a line's end behind the answer");
        assert!(item.greedy32_text.starts_with(text), "{:?}: {text:?}", item.prompt);
        assert!(text.len() > 10, "{:?}: {text:?}", item.prompt);
        whole += usize::from(item.greedy32_text == text);
    }
    assert!(whole >= 2, "{whole} answers of 32 tokens");
}

fn greedy<const N: usize>(
    model: &str,
    prompt: &str,
    environment: [(&'static str, String); N],
) -> String {
    let run = Firstlight::new(["run", model, "-", "--temperature=0", "--max-tokens=32"]);
    let run = run.envs(environment).input(prompt.as_bytes());
    run.run().success().stdout
}

/// Streamed, the process never holds more than the weights, the KV cache and 100 MB.
fn fits(folder: &Path) {
    let bucket = embedded(&[("one", folder)]);
    let line = tempfile::Builder::new().suffix(".json").tempfile().expect("a file");
    let run = Firstlight::new(["run", "s3://models/one", "Once upon a time", "--max-tokens=32"]);
    let run = run.envs(bucket.environment()).env("FIRSTLIGHT_TIMELINE", line.path());
    run.run().success();
    let report = fs::read_to_string(line.path()).expect("the timeline");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let weights = report["weight_bytes"].as_u64().expect("a number");
    let peak = report["description"]["peak_rss_bytes"].as_str().expect("a text");
    let peak: u64 = peak.parse().expect("a number");
    let kv_cache = 36 * 30 * 2 * 3 * 64 * 4; // positions, layers, keys and values, heads, columns, f32
    assert!(peak > weights, "{peak} bytes hold {weights}");
    assert!(peak <= weights + kv_cache + 100_000_000, "{peak} bytes for {weights} of weights");
}

fn embedded(folders: &[(&str, &Path)]) -> Running {
    let objects = Objects::new();
    for (prefix, folder) in folders {
        objects.serve_folder("models", &format!("{prefix}/"), folder).expect("it is there");
    }
    let bucket = Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0");
    bucket.expect("a port")
}

type Everywhere = (PathBuf, PathBuf, SeaweedFs);

fn everywhere() -> Result<Everywhere, Missing> {
    Ok((bf16_folder()?, smollm2_in_shards(StoredAs::Bf16, 3)?, SeaweedFs::start()?))
}

/// One text from a folder, from the embedded server, from SeaweedFS; from one file and from three shards.
fn same_from_everywhere(one: &Path, shards: &Path, weed: &SeaweedFs) {
    let prompt = "Once upon a time";
    let expected = greedy(one.to_str().expect("UTF-8"), prompt, []);
    assert!(expected.len() > 50, "{expected:?}");
    let folders = [("one", one), ("shards", shards)];
    for (prefix, folder) in folders {
        weed.upload(folder, "models", prefix).expect("it takes files");
    }
    let bucket = embedded(&folders);
    for model in ["s3://models/one", "s3://models/shards"] {
        assert_eq!(greedy(model, prompt, bucket.environment()), expected, "{model}, embedded");
        assert_eq!(greedy(model, prompt, weed.environment()), expected, "{model}, SeaweedFS");
    }
}

fn serves(server: &SeaweedFs) {
    let demo_model = demo_model::demo_model();
    server.upload(&demo_model, "models", "demo").expect("it takes files");
    for name in ["config.json", "model.safetensors"] {
        let bytes = server.get("models", &format!("demo/{name}")).expect("it gives them");
        assert!(bytes == fs::read(demo_model.join(name)).expect("committed"), "`{name}`");
    }
}

const FIRST: StageOrder = StageOrder::EmbeddingFirst;

const MODEL: &str = "SmolLM2-135M-Instruct";

/// numpy on the output of `gguf.quants.dequantize`, rows of q and k in the published order, tensors by name.
const F32_SUM: u64 = 6_292_359_017_935_267_072;
const BF16_SUM: u64 = 2_465_100_129_433_669_504;
