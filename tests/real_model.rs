//! A published model, from a package registry: SmolLM2-135M-Instruct, as its authors' code has it.

use std::fs;
use std::path::{Path, PathBuf};

use firstlight_generate::{ChatTemplate, Message, Tokenizer};
use libtest_mimic::{Arguments, run};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use support::checkpoint::StoredAs;
use support::needs::{Missing, trial};
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

fn serves(server: &SeaweedFs) {
    let demo_model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-model");
    server.upload(&demo_model, "models", "demo").expect("it takes files");
    for name in ["config.json", "model.safetensors"] {
        let bytes = server.get("models", &format!("demo/{name}")).expect("it gives them");
        assert!(bytes == fs::read(demo_model.join(name)).expect("committed"), "`{name}`");
    }
}

const MODEL: &str = "SmolLM2-135M-Instruct";

/// numpy on the output of `gguf.quants.dequantize`, rows of q and k in the published order, tensors by name.
const F32_SUM: u64 = 6_292_359_017_935_267_072;
const BF16_SUM: u64 = 2_465_100_129_433_669_504;
