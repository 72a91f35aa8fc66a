//! A GGUF of a Llama to a folder as Hugging Face publishes them: config, tokenizer, weights in safetensors.
//!
//! Three things differ besides the names. GGUF interleaves the two halves that RoPE rotates against each other, so the
//! rows of q and k are put back. It stores one table for embedding and output head where they are tied. And it keeps a
//! tokenizer's tokens and merges, not its pipeline: that is written out here for the tokenizer called `smollm`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::checkpoint::{Entry, StoredAs, write_checkpoint};
use super::gguf::{Gguf, TensorInfo};

/// Writes the model into `folder`, with `shards` weight files.
pub(crate) fn write_stock_folder(
    gguf: &Gguf,
    folder: &Path,
    stored_as: StoredAs,
    shards: usize,
) -> io::Result<()> {
    assert_eq!(gguf.get("general.architecture").text(), "llama");
    let tied = !gguf.tensors.iter().any(|tensor| tensor.name == "output.weight");
    write_json(folder, "config.json", &config(gguf, stored_as, tied))?;
    write_json(folder, "generation_config.json", &generation_config(gguf))?;
    write_json(folder, "tokenizer.json", &tokenizer(gguf))?;
    write_json(folder, "tokenizer_config.json", &tokenizer_config(gguf))?;

    let sources: Vec<_> =
        gguf.tensors.iter().map(|tensor| (published(&tensor.name), tensor)).collect();
    let entries: Vec<_> = sources
        .iter()
        .map(|(name, tensor)| Entry { name: name.clone(), shape: tensor.shape.clone() })
        .collect();
    write_checkpoint(folder, stored_as, shards, &entries, |entry, values| {
        let (_, tensor) = sources.iter().find(|(name, _)| *name == entry.name).expect("it made it");
        values.push(&weights(gguf, tensor))
    })
}

/// The values of `tensor` with its rows in the published order.
fn weights(gguf: &Gguf, tensor: &TensorInfo) -> Vec<f32> {
    let values = gguf.values(tensor);
    if tensor.name.ends_with("attn_q.weight") || tensor.name.ends_with("attn_k.weight") {
        halves_apart(&values, head_dim(gguf), tensor.shape[1])
    } else {
        values
    }
}

/// `(heads, head_dim / 2, 2, columns)` -> `(heads, 2, head_dim / 2, columns)`.
fn halves_apart(values: &[f32], head_dim: usize, columns: usize) -> Vec<f32> {
    let mut apart = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * columns) {
        for half in 0..2 {
            for pair in head.chunks_exact(2 * columns) {
                apart.extend_from_slice(&pair[half * columns..][..columns]);
            }
        }
    }
    apart
}

/// GGUF's name of a tensor to the one of the published checkpoint.
fn published(name: &str) -> String {
    let Some(rest) = name.strip_prefix("blk.") else {
        return match name {
            "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
            "output_norm.weight" => "model.norm.weight".to_owned(),
            "output.weight" => "lm_head.weight".to_owned(),
            _ => panic!("`{name}` is no tensor of a Llama"),
        };
    };
    let (layer, part) = rest.split_once('.').expect("blk.N.part");
    let part = match part {
        "attn_norm.weight" => "input_layernorm.weight",
        "attn_q.weight" => "self_attn.q_proj.weight",
        "attn_k.weight" => "self_attn.k_proj.weight",
        "attn_v.weight" => "self_attn.v_proj.weight",
        "attn_output.weight" => "self_attn.o_proj.weight",
        "ffn_norm.weight" => "post_attention_layernorm.weight",
        "ffn_gate.weight" => "mlp.gate_proj.weight",
        "ffn_up.weight" => "mlp.up_proj.weight",
        "ffn_down.weight" => "mlp.down_proj.weight",
        _ => panic!("`{name}` is no tensor of a Llama"),
    };
    format!("model.layers.{layer}.{part}")
}

fn config(gguf: &Gguf, stored_as: StoredAs, tied: bool) -> Json {
    let size = |key: &str| gguf.get(&format!("llama.{key}")).integer();
    let real = |key: &str| gguf.get(&format!("llama.{key}")).float();
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": size("embedding_length"),
        "intermediate_size": size("feed_forward_length"),
        "num_hidden_layers": size("block_count"),
        "num_attention_heads": size("attention.head_count"),
        "num_key_value_heads": size("attention.head_count_kv"),
        "head_dim": head_dim(gguf),
        "vocab_size": size("vocab_size"),
        "max_position_embeddings": size("context_length"),
        "rms_norm_eps": real("attention.layer_norm_rms_epsilon"),
        "rope_theta": real("rope.freq_base"),
        "rope_scaling": null,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": tied,
        "torch_dtype": stored_as.torch_dtype(),
        "bos_token_id": id(gguf, "bos"),
        "eos_token_id": id(gguf, "eos"),
        "pad_token_id": id(gguf, "padding"),
    })
}

fn generation_config(gguf: &Gguf) -> Json {
    json!({ "bos_token_id": id(gguf, "bos"), "eos_token_id": id(gguf, "eos") })
}

/// Byte-level BPE; digits are split one by one, then the text as GPT-2 does.
fn tokenizer(gguf: &Gguf) -> Json {
    assert_eq!(gguf.get("tokenizer.ggml.model").text(), "gpt2");
    assert_eq!(gguf.get("tokenizer.ggml.pre").text(), "smollm");
    let tokens = gguf.get("tokenizer.ggml.tokens").list();
    let vocab: Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| (token.text().to_owned(), json!(id))).collect();
    let merges: Vec<_> =
        gguf.get("tokenizer.ggml.merges").list().iter().map(|m| m.text()).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": control_tokens(gguf),
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true }, byte_level
        ] },
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    })
}

/// `<|im_start|>` and the like: found in the text before anything else is split.
fn control_tokens(gguf: &Gguf) -> Vec<Json> {
    let tokens = gguf.get("tokenizer.ggml.tokens").list();
    let kinds = gguf.get("tokenizer.ggml.token_type").list();
    let control = |id: &usize| kinds[*id].integer() == CONTROL;
    (0..tokens.len())
        .filter(control)
        .map(|id| {
            json!({
                "id": id, "content": tokens[id].text(), "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect()
}

fn tokenizer_config(gguf: &Gguf) -> Json {
    let token = |name| gguf.get("tokenizer.ggml.tokens").list()[id(gguf, name)].text();
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": gguf.get("llama.context_length").integer(),
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
        "chat_template": gguf.get("tokenizer.chat_template").text(),
    })
}

fn head_dim(gguf: &Gguf) -> usize {
    let size = |key: &str| gguf.get(&format!("llama.{key}")).integer();
    size("embedding_length") / size("attention.head_count")
}

fn id(gguf: &Gguf, name: &str) -> usize {
    gguf.get(&format!("tokenizer.ggml.{name}_token_id")).integer()
}

fn write_json(folder: &Path, name: &str, json: &Json) -> io::Result<()> {
    fs::write(folder.join(name), format!("{json:#}"))
}

/// `token_type` of a token that stands for no text.
const CONTROL: usize = 3;
