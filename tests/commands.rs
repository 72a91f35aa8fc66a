//! The commands of the real binary, on the demo model: what they print, from where they read.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use firstlight_bucket::tls::{LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM};
use firstlight_bucket::{Bucket, Builder, Objects, Running};
use serde_json::Value;
use support::demo_model::{demo_model, references};
use support::process::Firstlight;

fn bucket() -> Builder {
    let objects = Objects::new();
    objects.serve_folder("models", "demo/", &demo_model()).unwrap();
    Bucket::builder().objects(objects)
}

fn signed(run: Firstlight, server: &Running) -> Firstlight {
    run.envs(server.environment())
}

fn greedy(model: &str, prompt: &str) -> Firstlight {
    Firstlight::new(["run", model, prompt, "--temperature=0", "--max-tokens=48"])
}

#[test]
fn greedy_answers_are_the_references_from_a_folder_and_from_s3() {
    let server = bucket().start_on_own_thread("127.0.0.1:0").unwrap();
    for (prompt, expected) in references() {
        let local = greedy(demo_model().to_str().unwrap(), &prompt).run().success();
        assert_eq!(local.stdout, format!("{expected}\n"));
        assert_eq!(local.stderr, "", "quiet where nobody watches");
        let streamed = signed(greedy("s3://models/demo", &prompt), &server).run().success();
        assert_eq!(streamed.stdout, local.stdout);
    }
}

#[test]
fn https_is_trusted_by_its_certificate() {
    let server = bucket().allow_anonymous(true);
    let server = server.tls(LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM).unwrap();
    let server = server.start_on_own_thread("127.0.0.1:0").unwrap();
    let origin = format!("https://localhost:{}", server.addr().port());
    let roots = tempfile::NamedTempFile::new().unwrap();
    fs::write(roots.path(), LOCALHOST_CERTIFICATE_PEM).unwrap();
    let (prompt, expected) = references().swap_remove(0);

    let https =
        || greedy(&format!("{origin}/models/demo/"), &prompt).env("FIRSTLIGHT_ATTEMPTS", "1");
    let trusted = https().env("SSL_CERT_FILE", roots.path()).run().success();
    assert_eq!(trusted.stdout, format!("{expected}\n"));
    let stranger = https().run().failure();
    assert!(stranger.stderr.to_lowercase().contains("certificate"), "{stranger}");

    let s3 = signed(greedy("s3://models/demo", &prompt), &server).env("AWS_ENDPOINT_URL", &origin);
    let s3 = s3.env("SSL_CERT_FILE", roots.path()).run().success();
    assert_eq!(s3.stdout, format!("{expected}\n"));
}

#[test]
fn a_prompt_comes_from_standard_input_and_a_stop_string_ends_the_answer() {
    let model = demo_model();
    let run = |extra: &[&str]| {
        let run = ["run", model.to_str().unwrap(), "-", "--temperature=0", "--max-tokens=48"];
        Firstlight::new(run.iter().chain(extra)).input(b"Once upon a time").run().success().stdout
    };
    let whole = run(&[]);
    let stopped = run(&["--stop", "Drimina"]);
    let (before, _) = whole.split_once("Drimina").unwrap();
    assert_eq!(stopped, format!("{before}\n"));
}

#[test]
fn the_same_seed_writes_the_same_story_and_another_does_not() {
    let model = demo_model();
    let story = |seed: &str| {
        let run = ["run", model.to_str().unwrap(), "Once upon a time", "--max-tokens=60", "--seed"];
        Firstlight::new(run.iter().chain(&[seed])).run().success().stdout
    };
    assert_eq!(story("1"), story("1"));
    assert_ne!(story("1"), story("2"));
}

#[test]
fn a_start_is_written_down_in_three_forms() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (line, trace, page) = (file("a.json"), file("a.trace.json"), file("a.html"));
    let server = bucket().start_on_own_thread("127.0.0.1:0").unwrap();
    let files = ["--timeline", &line, "--timeline", &trace, "--timeline", &page];
    let run =
        ["run", "s3://models/demo", "Once", "--max-tokens=3", "--waterfall=always", "--link=1gbit"];
    let finished = signed(Firstlight::new(run.iter().chain(&files)), &server).run().success();
    for text in ["layer 0", "head", "TTFT", "floor"] {
        assert!(finished.stderr.contains(text), "{text:?} is missing in {}", finished.stderr);
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(&line).unwrap()).unwrap();
    let marks = report["marks_ms"].as_object().unwrap();
    let at = |mark: &str| marks[mark].as_f64().unwrap();
    for pair in [
        "main",
        "first_request",
        "planned",
        "first_weight_byte",
        "first_layer_computed",
        "first_token",
    ]
    .windows(2)
    {
        assert!(at(pair[0]) <= at(pair[1]), "{pair:?}: {marks:?}");
    }
    assert_eq!(report["weight_bytes"], 3_985_536);
    assert_eq!(report["counters"]["retries"], 0);
    assert_eq!(report["counters"]["tokens"], 3);
    let trace: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 10);
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("layer 4"), "a page");
}

#[test]
fn inspect_tells_what_would_be_fetched_and_fetches_no_weights() {
    let server = bucket().start_on_own_thread("127.0.0.1:0").unwrap();
    let inspect = |extra: &[&str]| {
        let run = ["inspect", "s3://models/demo", "--link=1gbit,10gbit"];
        signed(Firstlight::new(run.iter().chain(extra)), &server).run().success().stdout
    };
    let json: Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    assert_eq!(json["weight_bytes"], 3_985_536);
    assert_eq!(json["dtypes"]["BF16"]["tensors"], 47);
    assert_eq!(json["kv_cache_dtype"], "F32", "on a CPU");
    assert_eq!(json["model"]["layers"], 5);
    assert_eq!(json["model"]["parameters"], 3_985_536 / 2);
    assert_eq!(json["model"]["chat_template"], false);
    assert!(json["tokenizer_bytes"].as_u64().unwrap() > 10_000);
    let stages: Vec<_> =
        json["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(
        stages,
        ["embeddings", "layer 0", "layer 1", "layer 2", "layer 3", "layer 4", "head"]
    );
    assert_eq!(json["fetches"].as_array().unwrap().len(), 8);
    assert_eq!(json["tensors"].as_array().unwrap().len(), 47);
    let floor = json["predictions"][0]["floor_s"].as_f64().unwrap();
    assert!((floor - 3_985_536.0 / 125e6).abs() < 1e-9);
    let fetched: u64 = server.requests().iter().map(|request| request.bytes_sent).sum();
    assert!(fetched < 1 << 20, "{fetched} bytes");
    let text = inspect(&["--tensors", "--fetches"]);
    for expected in
        ["LlamaForCausalLM", "model.layers.4.mlp.up_proj.weight", "[384, 192]", "1gbit", "layer 4"]
    {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
}

#[test]
fn inspect_tells_of_a_model_of_embeddings_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-random-bert");
    let inspect = |extra: &[&str]| {
        Firstlight::new([&["inspect", folder.to_str().unwrap()], extra].concat()).run()
    };
    let told = inspect(&["--json"]).failure();
    assert!(told.stderr.contains("has no tokenizer.json"), "it has none: {told}");
    let json: Value = serde_json::from_str(&told.stdout).unwrap();
    let config = fs::read_to_string(folder.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(json["model"]["architecture"], config["architectures"][0]);
    assert_eq!(json["model"]["layers"], config["num_hidden_layers"]);
    assert_eq!(json["model"]["heads"], config["num_attention_heads"]);
    assert_eq!(json["stages"][0]["name"], "embeddings");
    assert!(json["arena_bytes"].as_u64() >= json["weight_bytes"].as_u64());
    assert!(json.get("kv_cache_dtype").is_none(), "nothing is kept");
    let text = inspect(&["--tensors"]).stdout;
    for expected in ["pooling", "longest text", "embeddings, layers", "first token"] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
}

#[test]
fn inspect_fails_where_run_would_for_want_of_a_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(demo_model().join(name), folder.path().join(name)).unwrap();
    }
    let told = Firstlight::new(["inspect", folder.path().to_str().unwrap()]).run().failure();
    assert!(told.stdout.contains("LlamaForCausalLM") && told.stdout.contains("missing"), "{told}");
    assert!(told.stderr.contains("has no tokenizer.json"), "{told}");
}

#[test]
#[cfg(feature = "demo")]
fn the_demo_tells_a_story_and_how_it_began() {
    let demo = Firstlight::new(["--log-level=error"]).env("FIRSTLIGHT_DEMO_LINK", "500mbit");
    let demo = demo.run().success();
    for expected in ["firstlight run s3://demo/stories", "TTFT", "floor", "layer 4"] {
        assert!(demo.stdout.contains(expected), "{expected:?} is missing in {demo}");
    }
    assert_eq!(demo.stderr, "");
    let story = demo.stdout.lines().map(|line| line.split_whitespace().count()).max().unwrap();
    assert!(story > 10, "{demo}");
}

#[test]
fn errors_are_json_where_logs_are() {
    let run = Firstlight::new(["run", "/no/such/model", "Once", "--log=json"]).run().failure();
    let line: Value = serde_json::from_str(run.stderr.lines().last().unwrap()).unwrap();
    assert!(line["fields"]["error"].as_str().unwrap().contains("/no/such/model"), "{line}");
}

#[test]
fn a_chat_template_of_the_user_takes_the_place_of_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("story.jinja");
    let model = demo_model();
    let run = |message: &str, text: &str| {
        fs::write(&template, text).unwrap();
        let fixed = ["--chat", "--max-tokens=8", "--temperature=0", "--chat-template"];
        let arguments = [&["run", model.to_str().unwrap(), message][..], &fixed].concat();
        Firstlight::new(arguments.into_iter().map(OsStr::new).chain([template.as_os_str()])).run()
    };
    let constant = |message| run(message, "Once upon a time{# no message #}").success().stdout;
    assert_eq!(constant("A cat"), constant("A dog"));
    let varied = |message| run(message, "{{ messages[0].content }}").success().stdout;
    assert_ne!(varied("A cat"), varied("The old man"));
    let wrong = run("A cat", "{% if %}").failure().stderr;
    let named = format!("error: `{}`: the chat template does not parse", template.display());
    assert!(wrong.starts_with(&named), "{wrong}");
}

#[test]
fn errors_of_usage_are_json_where_logs_are() {
    for (arguments, said) in [
        (&["serve", "m", "--nope", "--log=json"][..], "unexpected argument '--nope'"),
        (&["serve", "m", "--port=x", "--log", "json"], "invalid value 'x' for '--port"),
        (&["inspect", "--log=json"], "required"),
    ] {
        let finished = Firstlight::new(arguments).run().failure();
        let line: Value = serde_json::from_str(&finished.stderr).unwrap();
        let error = line["fields"]["error"].as_str().unwrap();
        assert!(error.contains(said) && !error.starts_with("error"), "{error}");
    }
}

#[test]
fn flags_are_switched_by_variables_in_all_usual_ways() {
    let model = demo_model();
    let run = |value: &str| greedy(model.to_str().unwrap(), "Once").env("FIRSTLIGHT_CHAT", value);
    for off in ["0", "false", "no", "off"] {
        run(off).run().success();
    }
    for on in ["1", "true", "yes", "on"] {
        let said = run(on).run().failure().stderr;
        assert!(said.contains("the model has no chat template"), "{said}");
    }
    let said = run("maybe").run().failure().stderr;
    assert!(said.contains("'maybe'") && said.contains("`FIRSTLIGHT_CHAT`"), "{said}");
    let said = greedy("m", "Once").env("FIRSTLIGHT_TOP_P", "much").run().failure().stderr;
    assert!(said.contains("--top-p") && said.contains("`FIRSTLIGHT_TOP_P`"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_before_the_load() {
    let model = demo_model();
    let model = model.to_str().unwrap();
    let said = |arguments: &[&str]| Firstlight::new(arguments).run().failure().stderr;
    let nowhere = said(&["run", "no-model", "Once", "--timeline=/no/such/x.json"]);
    assert!(nowhere.contains("there is no folder `/no/such`"), "{nowhere}");
    let nameless = said(&["serve", "no-model", "--port=0", "--served-model-name= "]);
    assert!(nameless.contains("--served-model-name"), "{nameless}");
    let long = ["serve", model, "--port=0", "--max-model-len=513", "--exit-on-failure"];
    let long = said(&long);
    assert!(long.contains("--max-model-len is 513, and the model was made for 512"), "{long}");
}

#[test]
fn a_prompt_that_is_taken_for_the_model_is_told_so() {
    let run = Firstlight::new(["run", "Once upon a time"]).env("MODEL", demo_model());
    let said = run.run().failure().stderr;
    assert!(said.contains("there is no prompt"), "{said}");
    assert!(said.contains("`Once upon a time` was taken as the model, in place of `"), "{said}");
}
