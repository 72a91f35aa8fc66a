//! Bad input to the real binary: each ends with an exit code that is not 0 and an error that names the thing, the number
//! and a way out; nothing panics, nothing hangs.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use firstlight_bucket::{Action, Bucket, Faults, Objects, Requests, Running};
use support::demo_model::demo_model;
use support::process::{Finished, Firstlight};

const MODEL: &str = "s3://models/demo";

fn demo_file(name: &str) -> Vec<u8> {
    let folder = demo_model();
    fs::read(folder.join(name)).unwrap()
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The demo model, to be broken by whoever wants to.
fn objects() -> Objects {
    let objects = Objects::new();
    for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"] {
        objects.insert("models", &format!("demo/{name}"), demo_file(name));
    }
    objects
}

fn serve(objects: Objects, faults: Faults) -> Running {
    let bucket = Bucket::builder().objects(objects).faults(faults);
    bucket.start_on_own_thread("127.0.0.1:0").unwrap()
}

fn firstlight(server: &Running, arguments: &[&str]) -> Firstlight {
    Firstlight::new(arguments)
        .envs(server.environment())
        .env("FIRSTLIGHT_STALL_MS", "300")
        .env("FIRSTLIGHT_ATTEMPTS", "3")
}

#[track_caller]
fn fails(finished: Finished, expected: &[&str]) {
    let finished = finished.failure();
    assert_eq!(finished.stdout, "", "no token of a model that is not whole");
    for text in expected {
        assert!(finished.stderr.contains(text), "{text:?} is missing in: {}", finished.stderr);
    }
}

#[track_caller]
fn run_fails(objects: Objects, faults: Faults, expected: &[&str]) {
    let server = serve(objects, faults);
    fails(firstlight(&server, &["run", MODEL, "Once", "--max-tokens=3"]).run(), expected);
}

#[test]
fn a_cpu_keeps_keys_and_values_in_f32() {
    let server = serve(objects(), Faults::default());
    for command in [&["run", MODEL, "Once", "--max-tokens=3"][..], &["inspect", MODEL]] {
        let arguments = [command, &["--device=cpu", "--kv-cache-dtype=f16"]].concat();
        fails(
            firstlight(&server, &arguments).run(),
            &["a CPU keeps keys and values in F32, not in F16", "hint: `--kv-cache-dtype auto`"],
        );
    }
}

fn without(key: &str) -> Objects {
    let objects = objects();
    objects.remove("models", &format!("demo/{key}"));
    objects
}

fn with(key: &str, bytes: impl Into<Vec<u8>>) -> Objects {
    let objects = objects();
    objects.insert("models", &format!("demo/{key}"), bytes.into());
    objects
}

/// A safetensors object with this header over `data_bytes` of zeros.
fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

#[test]
fn what_is_not_there_is_named() {
    let none = Faults::default;
    let server = serve(objects(), none());
    let run = |model: &str| firstlight(&server, &["run", model, "Once"]).run();
    fails(run("s3://no-such-bucket/demo"), &["bucket", "`s3://no-such-bucket/demo/", "hint"]);
    fails(run("s3://models/elsewhere"), &["s3://models/elsewhere", "config.json"]);
    run_fails(without("config.json"), none(), &["s3://models/demo", "config.json"]);
    run_fails(without("tokenizer.json"), none(), &["s3://models/demo", "tokenizer.json", "hint"]);
    run_fails(without("model.safetensors"), none(), &["model.safetensors.index.json", "hint"]);
    let index = r#"{"weight_map":{"model.norm.weight":"model-00002-of-00002.safetensors"}}"#;
    let sharded = without("model.safetensors");
    sharded.insert("models", "demo/model.safetensors.index.json", index);
    run_fails(sharded, none(), &["s3://models/demo/model-00002-of-00002.safetensors", "not exist"]);
}

#[test]
fn what_is_refused_says_why() {
    let server = serve(objects(), Faults::default());
    let run = || firstlight(&server, &["run", MODEL, "Once"]);
    let wrong = run().env("AWS_SECRET_ACCESS_KEY", "wrong").run();
    fails(wrong, &["s3://models/demo/", "SignatureDoesNotMatch", "hint"]);
    let unknown = run().env("AWS_ACCESS_KEY_ID", "unknown").run();
    fails(unknown, &["s3://models/demo/", "403", "hint"]);
    let elsewhere = Bucket::builder().objects(objects()).region("eu-central-1");
    let elsewhere = elsewhere.start_on_own_thread("127.0.0.1:0").unwrap();
    let region = firstlight(&elsewhere, &["run", MODEL, "Once"]).env("AWS_REGION", "us-east-1");
    fails(region.run(), &["`eu-central-1`", "`us-east-1`", "AWS_REGION=eu-central-1"]);
    let anonymous =
        Firstlight::new(["run", MODEL, "Once"]).env("AWS_ENDPOINT_URL", server.endpoint());
    fails(anonymous.run(), &["no credentials", "AWS_ACCESS_KEY_ID", "--s3-anonymous"]);
    let denied = Requests::get("models", "demo/model.safetensors").after(1);
    let denied = Faults::new(1).on(denied, Action::access_denied());
    run_fails(
        objects(),
        denied,
        &["s3://models/demo/model.safetensors", "AccessDenied", "s3:GetObject"],
    );
}

#[test]
fn a_broken_checkpoint_is_not_computed_on() {
    let none = Faults::default;
    let whole = demo_file("model.safetensors");
    let cases: [(Vec<u8>, &[&str]); 8] = [
        (whole[..whole.len() - 1000].to_vec(), &["truncated", "3989584", "3990584"]),
        (vec![1, 2, 3], &["`s3://models/demo/model.safetensors`", "3 bytes"]),
        (safetensors("not json", 0), &["header"]),
        (u64::MAX.to_le_bytes().repeat(4), &["header"]),
        (
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                12,
            ),
            &["`a`", "`b`", "overlap"],
        ),
        (
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}"#,
                16,
            ),
            &["8", "12"],
        ),
        (
            safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}"#, 8),
            &["`a`", "800"],
        ),
        (
            safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8),
            &["model.embed_tokens.weight"],
        ),
    ];
    for (bytes, expected) in cases {
        let server = serve(with("model.safetensors", bytes), none());
        let finished = firstlight(&server, &["run", MODEL, "Once"]).run();
        fails(finished, expected);
    }
}

#[test]
fn texts_that_requests_would_fail_by_end_the_load() {
    let none = Faults::default;
    let broken = with("tokenizer_config.json", "xx");
    run_fails(broken, none(), &["`tokenizer_config.json` does not parse", "line 1"]);
    let hot = with("generation_config.json", r#"{"temperature": -3}"#);
    run_fails(hot, none(), &["`generation_config.json`: `temperature` is `-3`", "0 to 100"]);
}

#[test]
fn a_checkpoint_that_is_not_the_models_is_told_from_it() {
    let none = Faults::default;
    let config = String::from_utf8(demo_file("config.json")).unwrap();
    let wider = config.replace("\"intermediate_size\": 384", "\"intermediate_size\": 512");
    run_fails(with("config.json", wider), none(), &["mlp", "384", "512"]);
    let deeper = config.replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 6");
    run_fails(with("config.json", deeper), none(), &["model.layers.5."]);
    let shallower = config.replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 4");
    run_fails(with("config.json", shallower), none(), &["`num_hidden_layers`", "is 4", "5 layers"]);
    let other = config.replace("LlamaForCausalLM", "MambaForCausalLM");
    run_fails(
        with("config.json", other),
        none(),
        &["`MambaForCausalLM`", "LlamaForCausalLM", "Qwen3ForCausalLM"],
    );
    run_fails(with("config.json", "{"), none(), &["s3://models/demo/config.json", "JSON"]);
    let whole = demo_file("model.safetensors");
    let at = whole.windows(4).position(|four| four == b"BF16").unwrap();
    let mut wrong = whole.clone();
    wrong[at..at + 4].copy_from_slice(b"I16\"");
    wrong[at + 4] = b' ';
    run_fails(with("model.safetensors", wrong), none(), &["I16", "BF16"]);
    let index =
        r#"{"weight_map":{"model.norm.weight":"a.safetensors","model.nothing":"a.safetensors"}}"#;
    let sharded = without("model.safetensors");
    sharded.insert("models", "demo/model.safetensors.index.json", index);
    sharded.insert("models", "demo/a.safetensors", whole);
    run_fails(sharded, none(), &["`model.nothing`", "a.safetensors"]);
}

/// An unsupported architecture is refused before any weight is asked for.
#[test]
fn an_unknown_architecture_costs_no_weights() {
    let config = String::from_utf8(demo_file("config.json")).unwrap();
    let server = serve(with("config.json", config.replace("Llama", "Mamba")), Faults::default());
    firstlight(&server, &["run", MODEL, "Once"]).run().failure();
    assert_no_weights(&server);
}

/// A context whose keys and values alone are more than machines have, of a model of 4 MB.
#[test]
fn a_context_that_memory_cannot_hold_costs_no_weights() {
    let config = String::from_utf8(demo_file("config.json")).unwrap();
    let long = r#""max_position_embeddings": 60000000, "was":"#;
    let config = config.replace(r#""max_position_embeddings":"#, long);
    let server = serve(with("config.json", config), Faults::default());
    let run = firstlight(&server, &["run", MODEL, "Once", "--max-tokens=4000000000"]);
    // What the machine has is known on Linux.
    if cfg!(target_os = "linux") {
        let expected = ["for weights", "of 60000000 positions", "hint", "--max-tokens"];
        fails(run.run(), &expected);
        assert_no_weights(&server);
    }
}

/// Nothing was read of the weights but their head.
#[track_caller]
fn assert_no_weights(server: &Running) {
    let head_end = 1 << 20;
    for request in server.requests().iter().filter(|request| request.key.ends_with(".safetensors"))
    {
        assert!(request.range.as_ref().is_some_and(|range| range.end <= head_end), "{request:?}");
    }
}

#[test]
fn a_network_that_breaks_is_survived_or_named() {
    let weights = || Requests::get("models", "demo/model.safetensors").after(1);
    // A byte of the second layer: not of the head that is read first.
    let second = || {
        let shard = Requests::get("models", "demo/model.safetensors");
        shard.overlapping(2_000_000..2_000_001).nth(1)
    };
    let server = serve(objects(), Faults::new(1).on(second(), Action::ResetAfter(100_000)));
    let folder = tempfile::tempdir().unwrap();
    let line = folder.path().join("timeline.json");
    let whole = firstlight(
        &server,
        &["run", MODEL, "Once upon a time", "--temperature=0", "--max-tokens=8"],
    );
    let whole = whole.env("FIRSTLIGHT_TIMELINE", &line).run().success();
    assert!(whole.stdout.contains("there lived"), "{}", whole.stdout);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(line).unwrap()).unwrap();
    assert_eq!(report["counters"]["retries"], 1, "{report}");
    let outcomes: Vec<_> =
        report["fetches"].as_array().unwrap().iter().map(|f| f["outcome"].to_string()).collect();
    assert!(outcomes.iter().any(|outcome| outcome.contains("retried")), "{outcomes:?}");

    let stops = Faults::new(1).on(weights(), Action::StallAfter(0));
    run_fails(objects(), stops, &["s3://models/demo/model.safetensors", "3 attempts", "0.3 s"]);
    let replaced = Action::Replace(vec![0_u8; demo_file("model.safetensors").len()].into());
    let replaced = Faults::new(1).on(second(), replaced);
    run_fails(objects(), replaced, &["s3://models/demo/model.safetensors", "replaced", "hint"]);
    let refused = Firstlight::new(["run", MODEL, "Once"])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b")
        .env("FIRSTLIGHT_ATTEMPTS", "2");
    fails(refused.run(), &["s3://models/demo/", "2 attempts", "refused"]);
}

#[test]
fn folders_that_are_no_models_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let run = || Firstlight::new(["run", path, "Once"]).run();
    fails(run(), &[path, "config.json", "hint"]);
    fs::write(folder.path().join("config.json"), demo_file("config.json")).unwrap();
    fs::write(folder.path().join("tokenizer.json"), demo_file("tokenizer.json")).unwrap();
    fails(run(), &[path, "model.safetensors", "hint"]);
    fs::write(folder.path().join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    fails(run(), &["pytorch_model.bin", "pickle is never loaded", "save_pretrained"]);
    fails(Firstlight::new(["run", "/no/such/folder", "Once"]).run(), &["/no/such/folder", "hint"]);
    fails(Firstlight::new(["run", "gs://bucket/x", "Once"]).run(), &["`gs://bucket/x`", "s3://"]);
}

#[test]
fn prompts_that_cannot_be_answered_are_named() {
    let model = fixture("demo-model");
    let model = model.to_str().unwrap();
    let long = "Once upon a time. ".repeat(400);
    fails(Firstlight::new(["run", model, "-"]).input(long.as_bytes()).run(), &["512", "context"]);
    fails(Firstlight::new(["run", model, "-"]).input(b"\xff\xfe").run(), &["UTF-8"]);
    let hot = Firstlight::new(["run", model, "Once", "--temperature=-1"]).run();
    fails(hot, &["temperature", "-1"]);
    fails(Firstlight::new(["run", model, "Once", "--chat"]).run(), &["chat template", "hint"]);
    let form = Firstlight::new(["run", model, "Once", "--timeline=/tmp/x.pdf"]).run();
    fails(form, &["x.pdf", ".html"]);
}

#[test]
fn a_variable_without_a_value_names_no_endpoint() {
    let server = serve(objects(), Faults::default());
    let run = ["run", MODEL, "Once", "--max-tokens=3"];
    firstlight(&server, &run).env("AWS_ENDPOINT_URL_S3", "").run().success();
    firstlight(&server, &[&run[..], &["--s3-endpoint="]].concat()).run().success();
}

/// What no attempt can mend is tried once.
#[test]
fn what_cannot_be_used_is_named_and_not_tried_again() {
    let server = serve(objects(), Faults::default());
    let (key, https) = ("-----BEGIN A-----", server.endpoint().replace("http:", "https:"));
    for (model, name, value, expected) in [
        (MODEL, "AWS_ENDPOINT_URL", "no url", "the S3 endpoint `no url` cannot be used"),
        (
            MODEL,
            "AWS_ENDPOINT_URL_S3",
            "localhost:1",
            "the S3 endpoint `localhost:1` cannot be used",
        ),
        (MODEL, "HTTP_PROXY", "ftp://h", "the proxy that the environment names is not"),
        (&*https, "SSL_CERT_FILE", "/nope", "root certificates: `/nope`"),
        ("hf://a/b", "HF_TOKEN", &format!("{key}\n"), "the hub's token `HF_TOKEN` cannot be used"),
        ("hf://a/b", "HF_ENDPOINT", "localhost", "the hub's endpoint `localhost` cannot be used"),
    ] {
        let finished = firstlight(&server, &["run", model, "Once"]).env(name, value).run();
        assert!(!finished.stderr.contains("attempts"), "{finished}");
        assert!(!finished.stderr.contains(key), "{finished}");
        fails(finished, &[expected]);
    }
}

#[test]
fn a_profile_that_gives_no_credentials_is_named() {
    let server = serve(objects(), Faults::default());
    let run = Firstlight::new(["run", MODEL, "Once"]).env("AWS_PROFILE", "nope");
    let finished = run.env("AWS_ENDPOINT_URL", server.endpoint()).run();
    fails(finished, &["the profile `nope` that AWS_PROFILE names", "hint: set AWS_ACCESS_KEY_ID"]);
}
