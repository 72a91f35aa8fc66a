use firstlight_device::DType;
use serde_json::{Value, json};

use super::*;
use crate::{Rope, Scaling};

/// Llama 3.2 1B, as published.
fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "tie_word_embeddings": true,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"
        },
        "attention_bias": false, "mlp_bias": false, "pretraining_tp": 1,
        "bos_token_id": 128_000, "eos_token_id": [128_001, 128_008, 128_009],
        "torch_dtype": "bfloat16"
    })
}

/// Mistral 7B v0.1, as published.
fn mistral() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral",
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "hidden_act": "silu", "max_position_embeddings": 32_768, "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0, "sliding_window": 4096, "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 2
    })
}

/// Qwen2.5 0.5B, as published.
fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0, "tie_word_embeddings": true, "use_sliding_window": false,
        "sliding_window": 32_768, "max_window_layers": 24, "eos_token_id": 151_643
    })
}

/// Qwen3 0.6B, as published.
fn qwen3() -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 40_960,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000, "rope_scaling": null,
        "attention_bias": false, "use_sliding_window": false, "sliding_window": null,
        "max_window_layers": 28, "tie_word_embeddings": true, "eos_token_id": 151_645
    })
}

/// `config` with the fields of `changes` put in, or taken out where they are `"-"`.
fn changed(mut config: Value, changes: &Value) -> Value {
    let map = config.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        if value == "-" {
            map.remove(field);
        } else {
            map.insert(field.clone(), value.clone());
        }
    }
    config
}

fn parse(config: &Value) -> Result<Spec, Error> {
    Spec::parse(config.to_string().as_bytes())
}

#[test]
fn published_models_have_their_published_sizes() {
    for (config, parameters, kv_bytes) in [
        (llama(), 1_235_814_400, 16 * 2 * 8 * 64 * 4),
        (mistral(), 7_241_732_096, 32 * 2 * 8 * 128 * 4),
        (qwen2(), 494_032_768, 24 * 2 * 2 * 64 * 4),
        (qwen3(), 596_049_920, 28 * 2 * 8 * 128 * 4),
    ] {
        let spec = parse(&config).unwrap();
        assert_eq!(spec.parameters(), parameters, "{}", spec.architecture);
        assert_eq!(spec.weight_bytes(2), 2 * parameters);
        assert_eq!(spec.kv_bytes_per_position(DType::F32), kv_bytes);
        assert_eq!(spec.kv_bytes_per_position(DType::BF16), kv_bytes / 2);
    }
}

#[test]
fn a_published_llama_is_read_field_by_field() {
    let spec = parse(&llama()).unwrap();
    let expected = Spec {
        architecture: "LlamaForCausalLM",
        vocab_size: 128_256,
        hidden_size: 2048,
        intermediate_size: 8192,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-5,
        rope: Rope {
            theta: 500_000.0,
            scaling: Scaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192.0,
            },
        },
        tie_word_embeddings: true,
        biases: Biases::default(),
        qk_norm: false,
        windows: vec![None; 16],
        bos_ids: vec![128_000],
        eos_ids: vec![128_001, 128_008, 128_009],
    };
    assert_eq!(spec, expected);
    let summary = spec.summary();
    assert!(summary.contains(&("parameters", "1235.8 M".to_owned())), "{summary:?}");
    assert!(summary.contains(&("heads", "32 of 64, 8 kv".to_owned())), "{summary:?}");
}

#[test]
fn what_is_absent_has_the_default_of_its_family() {
    let bare = json!({
        "architectures": "-", "num_key_value_heads": "-", "head_dim": "-", "hidden_act": "-",
        "rms_norm_eps": "-", "rope_theta": "-", "rope_scaling": "-", "tie_word_embeddings": "-",
        "eos_token_id": "-"
    });
    let spec = parse(&changed(llama(), &bare)).unwrap();
    assert_eq!((spec.kv_heads, spec.head_dim, spec.rms_norm_eps), (32, 64, 1e-6));
    assert_eq!(spec.rope, Rope { theta: 10_000.0, scaling: Scaling::Default });
    assert!(!spec.tie_word_embeddings && spec.eos_ids.is_empty());
    assert_eq!(parse(&changed(qwen3(), &json!({"head_dim": "-"}))).unwrap().head_dim, 128);
    assert_eq!(parse(&qwen2()).unwrap().head_dim, 64);
}

#[test]
fn biases_are_those_of_the_family_or_as_told() {
    let biases = |config: Value, changes: Value| parse(&changed(config, &changes)).unwrap().biases;
    let all = Biases { qkv: true, output: true, mlp: true };
    let told = json!({"attention_bias": true, "mlp_bias": true});
    assert_eq!(biases(llama(), told.clone()), all);
    assert_eq!(biases(mistral(), told.clone()), Biases::default());
    assert_eq!(biases(qwen2(), told.clone()), Biases { qkv: true, output: false, mlp: false });
    assert_eq!(biases(qwen3(), told), Biases { mlp: false, ..all });
    assert_eq!(biases(qwen3(), json!({})), Biases::default());
}

#[test]
fn windows_are_per_layer() {
    let windows = |config: Value, changes: Value| {
        let four = changed(config, &json!({"num_hidden_layers": 4}));
        parse(&changed(four, &changes)).unwrap().windows
    };
    let (all, w) = ([None; 4], Some(24));
    assert_eq!(windows(llama(), json!({"sliding_window": 24})), all);
    assert_eq!(windows(mistral(), json!({"sliding_window": 24})), [w; 4]);
    assert_eq!(windows(mistral(), json!({"sliding_window": null})), all);
    assert_eq!(windows(mistral(), json!({"sliding_window": "-"})), [Some(4096); 4]);
    for config in [qwen2(), qwen3()] {
        let told = json!({"sliding_window": 24, "max_window_layers": 3});
        assert_eq!(windows(config.clone(), told), all);
        let used = json!({
            "sliding_window": 24, "max_window_layers": 3, "use_sliding_window": true
        });
        assert_eq!(windows(config.clone(), used.clone()), [None, None, None, w]);
        let (full, sliding) = ("full_attention", "sliding_attention");
        let kinds = changed(used, &json!({"layer_types": [sliding, full, sliding, full]}));
        assert_eq!(windows(config, kinds), [w, None, w, None]);
    }
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let supported = "supported are `LlamaForCausalLM`, `MistralForCausalLM`, `Qwen2ForCausalLM`, \
        `Qwen3ForCausalLM`, and for embeddings `BertModel`, `BertForMaskedLM`, `BertForPreTraining`, \
        `RobertaModel`, `RobertaForMaskedLM`, `XLMRobertaModel`, `XLMRobertaForMaskedLM`";
    let ropes = "supported are `default`, `linear` and `llama3`";
    let cases = [
        (
            json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}),
            format!("architecture `GPT2LMHeadModel` is not supported; {supported}"),
        ),
        (
            json!({"architectures": null, "model_type": "bert"}),
            "`BertModel` makes embeddings and no text\n\
             hint: firstlight embed MODEL 'Some text'"
                .into(),
        ),
        (
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            format!("architecture `LlamaForSequenceClassification` is not supported; {supported}"),
        ),
        (
            json!({"architectures": [], "model_type": "-"}),
            "config.json has no `architectures`".into(),
        ),
        (
            json!({"model_type": "mistral"}),
            "config.json contradicts itself: `LlamaForCausalLM` with model_type `mistral`".into(),
        ),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            "the checkpoint is quantized by `gptq`, which is not supported; \
             use the bf16, f16 or f32 checkpoint of the same model"
                .into(),
        ),
        (
            json!({"hidden_act": "gelu"}),
            "`hidden_act` of config.json is `gelu`, expected `silu`".into(),
        ),
        (
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            format!("`rope_scaling.type` is `dynamic`; {ropes}"),
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "type": "linear"}}),
            format!("`rope_scaling.rope_type` is `longrope`; {ropes}"),
        ),
        (
            json!({"rope_scaling": null, "rope_parameters": {"rope_type": "yarn"}}),
            format!("`rope_parameters.rope_type` is `yarn`; {ropes}"),
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "`partial_rotary_factor` of config.json is `0.5`, expected 1, or not there".into(),
        ),
        (
            json!({"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.25}}),
            "`rope_scaling.partial_rotary_factor` of config.json is `0.25`, \
             expected 1, or not there"
                .into(),
        ),
        (
            json!({"rope_scaling": {"full_attention": {"rope_type": "default"}}}),
            "`rope_scaling.full_attention` of config.json is `{\"rope_type\":\"default\"}`, \
             expected one rope for all layers"
                .into(),
        ),
    ];
    for (changes, expected) in cases {
        let error = parse(&changed(llama(), &changes)).unwrap_err();
        assert_eq!(error.to_string(), expected, "{changes}");
    }
}

#[test]
fn a_missing_field_is_named() {
    let sizes = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    ];
    let scaling = ["factor", "low_freq_factor", "high_freq_factor"];
    for field in sizes {
        let error = parse(&changed(llama(), &json!({ field: "-" }))).unwrap_err();
        assert_eq!(error.to_string(), format!("config.json has no `{field}`"));
    }
    for field in scaling {
        let scaling = changed(llama()["rope_scaling"].clone(), &json!({ field: null }));
        let error = parse(&changed(llama(), &json!({ "rope_scaling": scaling }))).unwrap_err();
        assert_eq!(error.to_string(), format!("config.json has no `rope_scaling.{field}`"));
    }
    for config in [mistral(), qwen2(), qwen3()] {
        let error = parse(&changed(config, &json!({"num_key_value_heads": "-"}))).unwrap_err();
        assert_eq!(error.to_string(), "config.json has no `num_key_value_heads`");
    }
}

#[test]
fn nonsense_is_refused_with_its_value() {
    let whole = |limit: usize| format!("a whole number from 1 to {limit}");
    let cases = [
        (json!({"hidden_size": 0}), "hidden_size", "0", whole(MAX_WIDTH)),
        (json!({"hidden_size": -64}), "hidden_size", "-64", whole(MAX_WIDTH)),
        (json!({"hidden_size": 64.5}), "hidden_size", "64.5", whole(MAX_WIDTH)),
        (json!({"hidden_size": "64"}), "hidden_size", "64", whole(MAX_WIDTH)),
        (json!({"vocab_size": u64::MAX}), "vocab_size", "18446744073709551615", whole(1 << 22)),
        (json!({"num_hidden_layers": 1025}), "num_hidden_layers", "1025", whole(1024)),
        (json!({"num_attention_heads": []}), "num_attention_heads", "[]", whole(1024)),
        (
            json!({"num_key_value_heads": 5}),
            "num_key_value_heads",
            "5",
            "a divisor of `num_attention_heads`, which is 32".into(),
        ),
        (
            json!({"head_dim": 63}),
            "head_dim",
            "63",
            "an even number: the rotary embedding turns pairs".into(),
        ),
        (
            json!({"head_dim": null, "hidden_size": 2047}),
            "hidden_size",
            "2047",
            "a multiple of the 32 heads".into(),
        ),
        (
            json!({"tie_word_embeddings": "yes"}),
            "tie_word_embeddings",
            "yes",
            "`true` or `false`".into(),
        ),
        (json!({"rope_theta": 0}), "rope_theta", "0", "a number from 1 on".into()),
        (json!({"rope_theta": 1e300}), "rope_theta", "1e+300", "a number from 1 on".into()),
        (json!({"rope_scaling": "llama3"}), "rope_scaling", "llama3", "a JSON object".into()),
        (
            json!({"eos_token_id": [1, -1]}),
            "eos_token_id",
            "[1,-1]",
            "a token id or a list of token ids".into(),
        ),
        (
            json!({"architectures": "\u{1b}[31m".repeat(40)}),
            "architectures",
            &format!("{}…", "\u{fffd}[31m".repeat(12)),
            "a list of strings".into(),
        ),
    ];
    for (changes, field, found, expected) in cases {
        let error = parse(&changed(llama(), &changes)).unwrap_err();
        let message = format!("`{field}` of config.json is `{found}`, expected {expected}");
        assert_eq!(error.to_string(), message, "{changes}");
    }
}

#[test]
fn contradictory_windows_and_frequencies_are_refused() {
    let four = changed(qwen2(), &json!({"num_hidden_layers": 2}));
    for (layer_types, expected) in [
        (json!(["full_attention"]), "expected 2 of them, one a layer"),
        (json!(["full_attention", "linear_attention"]), "or `sliding_attention`"),
        (json!(["full_attention", "sliding_attention"]), "a size, with `use_sliding_window`"),
    ] {
        let error = parse(&changed(four.clone(), &json!({ "layer_types": layer_types })));
        let message = error.unwrap_err().to_string();
        assert!(message.ends_with(expected), "{message}");
    }
    let zero = json!({"use_sliding_window": true, "sliding_window": 0});
    assert!(matches!(parse(&changed(qwen2(), &zero)), Err(Error::Field { .. })));
    let equal = json!({"rope_type": "llama3", "low_freq_factor": 4, "high_freq_factor": 4});
    let message = parse(&changed(llama(), &json!({"rope_scaling": equal}))).unwrap_err();
    assert!(message.to_string().ends_with("expected more than `low_freq_factor`"), "{message}");
}

#[test]
fn bytes_that_are_no_config_are_refused() {
    assert!(matches!(Spec::parse(b""), Err(Error::Json { .. })));
    assert!(matches!(Spec::parse(b"{\"hidden_size\": "), Err(Error::Json { .. })));
    assert!(matches!(Spec::parse(&[0xff; 8]), Err(Error::Json { .. })));
    assert!(matches!(Spec::parse(b"[1, 2]"), Err(Error::NotAnObject { .. })));
    assert!(matches!(Spec::parse("[".repeat(100_000).as_bytes()), Err(Error::Json { .. })));
    let large = vec![b' '; MAX_CONFIG_BYTES + 1];
    let error = Spec::parse(&large).unwrap_err();
    assert_eq!(error.to_string(), "config.json has 1048577 bytes, more than the limit of 1048576");
}
