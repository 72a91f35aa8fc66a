//! Models of published shapes with random weights: right sizes, right time, no meaning.
//!
//! For speed and memory, where the answer is of no interest. The same seed gives the same bytes on every machine. It
//! streams to the disk, with a few MB in memory. The benches include this file by its path.
#![allow(
    dead_code,
    reason = "a bench or a test uses one shape of it, and one way to store weights"
)]

use std::io;
use std::path::{Path, PathBuf};
use std::{env, fs, iter};

use serde_json::{Value as Json, json};

#[path = "checkpoint.rs"]
pub(crate) mod checkpoint;
#[path = "once.rs"]
pub(crate) mod once;

use checkpoint::{Entry, StoredAs, Values, write_checkpoint};
use once::made_once;

/// A model that does not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct RandomModel {
    name: String,
    config: Json,
    shards: usize,
    seed: u64,
}

impl RandomModel {
    /// 0.27 GB. The config of `HuggingFaceTB/SmolLM2-135M`.
    pub(crate) fn smollm2_135m() -> Self {
        Self::new(
            "smollm2-135m",
            json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "vocab_size": 49_152,
                "max_position_embeddings": 8192,
                "rms_norm_eps": 1e-5,
                "rope_theta": 100_000.0,
                "rope_scaling": null,
                "attention_bias": false,
                "mlp_bias": false,
                "bos_token_id": 0,
                "eos_token_id": 0,
            }),
        )
    }

    /// 0.99 GB. The config of `Qwen/Qwen2.5-0.5B`.
    pub(crate) fn qwen2_5_0_5b() -> Self {
        Self::new(
            "qwen2.5-0.5b",
            json!({
                "architectures": ["Qwen2ForCausalLM"],
                "model_type": "qwen2",
                "hidden_size": 896,
                "intermediate_size": 4864,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "vocab_size": 151_936,
                "max_position_embeddings": 32_768,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1_000_000.0,
                "use_sliding_window": false,
                "sliding_window": 32_768,
                "max_window_layers": 24,
                "bos_token_id": 151_643,
                "eos_token_id": 151_643,
            }),
        )
    }

    /// 2.47 GB. The config of `meta-llama/Llama-3.2-1B`.
    pub(crate) fn llama_3_2_1b() -> Self {
        Self::new(
            "llama-3.2-1b",
            json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": 2048,
                "intermediate_size": 8192,
                "num_hidden_layers": 16,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 64,
                "vocab_size": 128_256,
                "max_position_embeddings": 131_072,
                "rms_norm_eps": 1e-5,
                "rope_theta": 500_000.0,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 32.0,
                    "high_freq_factor": 4.0,
                    "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192,
                },
                "attention_bias": false,
                "mlp_bias": false,
                "bos_token_id": 128_000,
                "eos_token_id": 128_001,
            }),
        )
    }

    /// 1.19 GB. The config of `Qwen/Qwen3-0.6B`.
    pub(crate) fn qwen3_0_6b() -> Self {
        Self::new(
            "qwen3-0.6b",
            json!({
                "architectures": ["Qwen3ForCausalLM"],
                "model_type": "qwen3",
                "hidden_size": 1024,
                "intermediate_size": 3072,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 151_936,
                "max_position_embeddings": 40_960,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1_000_000.0,
                "rope_scaling": null,
                "attention_bias": false,
                "use_sliding_window": false,
                "sliding_window": null,
                "max_window_layers": 28,
                "bos_token_id": 151_643,
                "eos_token_id": 151_645,
            }),
        )
    }

    /// 16.1 GB, with an output matrix of its own. The config of `meta-llama/Llama-3.1-8B`.
    pub(crate) fn llama_3_1_8b() -> Self {
        Self::new(
            "llama-3.1-8b",
            json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": 4096,
                "intermediate_size": 14_336,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 128_256,
                "max_position_embeddings": 131_072,
                "rms_norm_eps": 1e-5,
                "rope_theta": 500_000.0,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "high_freq_factor": 4.0,
                    "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192,
                },
                "attention_bias": false,
                "mlp_bias": false,
                "tie_word_embeddings": false,
                "bos_token_id": 128_000,
                "eos_token_id": 128_001,
            }),
        )
        .shards(8)
    }

    /// 7 MB: a small Llama with as many tokens as the demo model's tokenizer.
    pub(crate) fn tiny() -> Self {
        Self::new(
            "tiny",
            json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": 256,
                "intermediate_size": 512,
                "num_hidden_layers": 6,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "vocab_size": 2048,
                "max_position_embeddings": 2048,
                "rms_norm_eps": 1e-5,
                "rope_theta": 10_000.0,
                "rope_scaling": null,
                "attention_bias": false,
                "mlp_bias": false,
                "bos_token_id": 0,
                "eos_token_id": 1,
            }),
        )
    }

    fn new(name: &str, mut config: Json) -> Self {
        for (key, value) in [
            ("hidden_act", json!("silu")),
            ("tie_word_embeddings", json!(true)),
            ("torch_dtype", json!(StoredAs::Bf16.torch_dtype())),
        ] {
            if config[key].is_null() {
                config[key] = value;
            }
        }
        Self { name: name.to_owned(), config, shards: 1, seed: 1 }
    }

    pub(crate) fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same shape with so many tokens, and an output matrix of its own.
    pub(crate) fn untied(mut self, vocab_size: usize) -> Self {
        self.name += "-untied";
        self.config["vocab_size"] = json!(vocab_size);
        self.config["tie_word_embeddings"] = json!(false);
        self
    }

    /// The same shape with fewer layers, or more.
    pub(crate) fn layers(mut self, layers: usize) -> Self {
        self.config["num_hidden_layers"] = json!(layers);
        self
    }

    /// Its config.json.
    pub(crate) fn config(&self) -> &Json {
        &self.config
    }

    /// The bytes of all weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.entries().iter().map(|entry| entry.count() * 2).sum()
    }

    /// Its folder below `cache`, made on the first call, with the demo model's tokenizer.
    pub(crate) fn folder_in(&self, cache: &Path) -> io::Result<PathBuf> {
        let Self { name, config, shards, seed } = self;
        let layers = &config["num_hidden_layers"];
        let folder =
            cache.join(format!("random-{name}-{layers}-layers-{shards}-shards-seed-{seed}"));
        let recipe = format!("{REVISION} {config}");
        made_once(&folder, &recipe, |partial| self.write(partial, &demo_model()))?;
        Ok(folder)
    }

    /// Writes it into `folder`; the tokenizer's files come from the folder `tokenizer`. Its ids are less than those of
    /// the published tokenizers, so every prompt is within the vocabulary.
    pub(crate) fn write(&self, folder: &Path, tokenizer: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("config.json"), format!("{:#}", self.config))?;
        let (bos, eos) = (&self.config["bos_token_id"], &self.config["eos_token_id"]);
        let generation = json!({ "bos_token_id": bos, "eos_token_id": eos });
        fs::write(folder.join("generation_config.json"), format!("{generation:#}"))?;
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(tokenizer.join(name), folder.join(name))?;
        }
        write_checkpoint(folder, StoredAs::Bf16, self.shards, &self.entries(), |entry, values| {
            fill(entry, self.seed, values)
        })
    }

    /// All tensors in the order of the model.
    fn entries(&self) -> Vec<Entry> {
        let hidden = self.size("hidden_size");
        let tied = self.config["tie_word_embeddings"] == true;
        let layers = (0..self.size("num_hidden_layers")).flat_map(|layer| self.layer(layer));
        iter::once(entry("model.embed_tokens.weight", &[self.size("vocab_size"), hidden]))
            .chain(layers)
            .chain([entry("model.norm.weight", &[hidden])])
            .chain((!tied).then(|| entry("lm_head.weight", &[self.size("vocab_size"), hidden])))
            .collect()
    }

    fn layer(&self, layer: usize) -> Vec<Entry> {
        let (hidden, inner) = (self.size("hidden_size"), self.size("intermediate_size"));
        let (heads, kv_heads) =
            (self.size("num_attention_heads"), self.size("num_key_value_heads"));
        let head_dim = self.config["head_dim"].as_u64().map_or(hidden / heads, usize_of);
        let family = self.config["model_type"].as_str().expect("every config here has it");
        let mut entries = Vec::new();
        let mut add = |name: &str, shape: &[usize]| {
            entries.push(entry(&format!("model.layers.{layer}.{name}"), shape));
        };

        add("input_layernorm.weight", &[hidden]);
        for (projection, rows) in [("q", heads), ("k", kv_heads), ("v", kv_heads)] {
            add(&format!("self_attn.{projection}_proj.weight"), &[rows * head_dim, hidden]);
            if family == "qwen2" {
                add(&format!("self_attn.{projection}_proj.bias"), &[rows * head_dim]);
            }
        }
        if family == "qwen3" {
            add("self_attn.q_norm.weight", &[head_dim]);
            add("self_attn.k_norm.weight", &[head_dim]);
        }
        add("self_attn.o_proj.weight", &[hidden, heads * head_dim]);
        add("post_attention_layernorm.weight", &[hidden]);
        add("mlp.gate_proj.weight", &[inner, hidden]);
        add("mlp.up_proj.weight", &[inner, hidden]);
        add("mlp.down_proj.weight", &[hidden, inner]);
        entries
    }

    fn size(&self, key: &str) -> usize {
        usize_of(self.config[key].as_u64().expect("every config here has it"))
    }
}

fn entry(name: &str, shape: &[usize]) -> Entry {
    Entry { name: name.to_owned(), shape: shape.to_vec() }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("these machines have 64 bits")
}

/// The demo model, whose tokenizer stands in for all others.
fn demo_model() -> PathBuf {
    root().join("tests/fixtures/demo-model")
}

/// The repository, which cargo tells whatever it runs; or what a program has of it elsewhere, if told so.
pub(crate) fn root() -> PathBuf {
    let told = env::var_os("CARGO_MANIFEST_DIR");
    told.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// Norms are 1, all else is about normal with [`DEVIATION`], as a model before its training.
fn fill(entry: &Entry, seed: u64, values: &mut Values) -> io::Result<()> {
    let mut random = Random::new(seed, &entry.name);
    let norm = entry.name.ends_with("norm.weight");
    let mut piece = [1.0; 4096];
    let mut left = entry.count();
    while left > 0 {
        let piece = &mut piece[..left.min(4096)];
        if !norm {
            piece.fill_with(|| DEVIATION * random.normal());
        }
        values.push(piece)?;
        left -= piece.len();
    }
    Ok(())
}

/// splitmix64 (Steele, Lea, Flood 2014): one addition and two multiplications a draw.
pub(crate) struct Random(u64);

impl Random {
    /// Every tensor has its own sequence, so that its values do not depend on the others.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut random = Self(seed);
        for byte in name.bytes() {
            random.0 ^= u64::from(byte);
            random.0 = random.draw();
        }
        random
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The sum of the four 16-bit quarters of one draw, to mean 0 and deviation 1.
    fn normal(&mut self) -> f32 {
        let draw = self.draw();
        let sum: u64 = (0..4).map(|quarter| (draw >> (16 * quarter)) & 0xffff).sum();
        (sum as f32 - QUARTERS_MEAN) / QUARTERS_DEVIATION
    }
}

/// `initializer_range` of all these models.
const DEVIATION: f32 = 0.02;

/// 4 x 65535 / 2.
const QUARTERS_MEAN: f32 = 131_070.0;

/// sqrt(4 x 65536^2 / 12).
const QUARTERS_DEVIATION: f32 = 37_837.3;

/// Raised when the same config and seed begin to give other bytes.
const REVISION: u32 = 1;
