//! The command that serves, as clients see it: the real binary, on the demo model.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use firstlight_bucket::{Bucket, Objects, Turnstile};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::copied::copied;
use support::demo_model::{demo_model, references};
use support::process::{Finished, Firstlight};
use support::random_model::RandomModel;
use support::serving::{Answer, Reply, Serving, request_head};

fn serving(extra: &[&str]) -> Serving {
    let model = demo_model();
    Serving::start(&[&[model.to_str().unwrap()], extra].concat())
}

fn greedy(prompt: &str) -> Value {
    json!({"model": "demo-model", "prompt": prompt, "temperature": 0, "max_tokens": 48})
}

fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// An answer that takes a while: as long as the context.
fn long() -> Value {
    json!({"model": "demo-model", "prompt": "Once", "temperature": 0, "max_tokens": 500,
           "logit_bias": {"1": -100}, "stream": true})
}

#[test]
fn greedy_answers_are_the_references_whole_and_streamed_alone_and_together() {
    let server = serving(&[]);
    let references = references();
    for (prompt, expected) in &references {
        let whole = server.post("/v1/completions", &greedy(prompt)).ok();
        assert_eq!(whole.text(), *expected);
        let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
        let streamed = server.post("/openai/v1/completions", &with(greedy(prompt), stream)).ok();
        assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
        let events = streamed.events();
        let (usage, pieces) = events.split_last().unwrap();
        let text = |event: &Value| event["choices"][0]["text"].as_str().unwrap().to_owned();
        assert_eq!(pieces.iter().map(text).collect::<String>(), *expected);
        assert!(pieces.iter().all(|event| event["usage"].is_null()));
        assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole.json()["usage"]));
    }
    let prompts: Vec<_> = references.iter().map(|(prompt, _)| prompt).collect();
    let together = with(greedy(""), json!({"prompt": prompts, "n": 2}));
    let together = server.post("/v1/completions", &together).ok().json();
    let choices = together["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2 * references.len());
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["text"], references[index / 2].1);
    }
}

#[test]
fn sixty_four_at_once_get_what_each_gets_alone() {
    let server = serving(&[]);
    let references = references();
    thread::scope(|scope| {
        for n in 0..64 {
            let (prompt, expected) = &references[n % references.len()];
            let server = &server;
            scope.spawn(move || {
                let reply = server.post("/v1/completions", &greedy(prompt)).ok();
                assert_eq!(reply.text(), *expected);
            });
        }
    });
    let status = server.until(|status| status["engine"]["running"] == 0);
    assert_eq!(status["engine"]["kv_blocks_used"], 0);
}

/// The demo model with a chat template of its own.
fn chat_model() -> tempfile::TempDir {
    let folder = copied(&demo_model());
    let template = "<s>{% for message in messages %}{% if message.role == 'tool' %}\
                    {{ raise_exception('no tools') }}{% endif %}{{ message.content }}{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

#[test]
fn a_conversation_is_answered_as_its_template_says() {
    let folder = chat_model();
    let model = folder.path().to_str().unwrap();
    let server = Serving::start(&[model, "--served-model-name=story"]);
    let (prompt, expected) = references().swap_remove(0);
    let (first, second) = prompt.split_at(4);
    let parts = json!([{"type": "text", "text": second}]);
    let chat = json!({"model": "story", "temperature": 0, "max_tokens": 48, "messages": [
        {"role": "developer", "content": first}, {"role": "user", "content": parts},
    ]});
    let whole = server.post("/v1/chat/completions", &chat).ok();
    assert_eq!(whole.text(), expected);
    assert_eq!(whole.json()["object"], "chat.completion");
    let reason = &whole.json()["choices"][0]["finish_reason"];
    let streamed = with(chat.clone(), json!({"stream": true, "logprobs": true, "top_logprobs": 2}));
    let events = server.post("/v1/chat/completions", &streamed).ok().events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let content = |event: &Value| {
        event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(events.iter().map(content).collect::<String>(), expected);
    assert_eq!(&events.last().unwrap()["choices"][0]["finish_reason"], reason);
    let tokens = events.iter().filter_map(|e| e["choices"][0]["logprobs"]["content"].as_array());
    for token in tokens.flatten() {
        assert_eq!(token["logprob"], token["top_logprobs"][0]["logprob"], "greedy takes the top");
        let spelling = token["token"].as_str().unwrap();
        let is_end = spelling == "</s>";
        assert_eq!(token["bytes"], if is_end { Value::Null } else { json!(spelling.as_bytes()) });
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn options_do_what_they_say() {
    let server = serving(&[]);
    let (prompt, expected) = references().swap_remove(0);
    let ask =
        |fields: Value| server.post("/v1/completions", &with(greedy(&prompt), fields)).ok().json();
    let stopped = ask(json!({"stop": "Drimina"}));
    assert_eq!(stopped["choices"][0]["text"], expected.split_once("Drimina").unwrap().0);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let sampled = json!({"temperature": 1.5, "seed": 7, "n": 3});
    let texts = |answer: &Value| -> Vec<String> {
        let choices = answer["choices"].as_array().unwrap().iter();
        choices.map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
    };
    let once = texts(&ask(sampled.clone()));
    assert_eq!(once, texts(&ask(sampled)));
    assert!(once[0] != once[1] && once[1] != once[2]);

    let scored = ask(json!({"echo": true, "logprobs": 0, "max_tokens": 1}));
    let logprobs = &scored["choices"][0]["logprobs"];
    let tokens: Vec<_> = logprobs["tokens"].as_array().unwrap().iter().collect();
    let joined: String = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    let text = scored["choices"][0]["text"].as_str().unwrap();
    assert_eq!(joined, format!("<s>{text}"), "what begins a text is no part of it");
    assert!(text.starts_with(&prompt));
    assert_eq!(logprobs["text_offset"][1], 0);
    assert_eq!(logprobs["token_logprobs"][0], Value::Null);
    assert!(logprobs["token_logprobs"][1].as_f64().unwrap() < 0.0);

    // `</s>` is all but certain, and yet it waits.
    let likely_end = json!({"logit_bias": {"1": 100}, "max_tokens": 9, "min_tokens": 5});
    let least = ask(likely_end.clone());
    assert_eq!(least["usage"]["completion_tokens"], 6);
    assert_eq!(least["choices"][0]["finish_reason"], "stop");
    let more = server.post(
        "/v1/completions",
        &with(with(greedy(&prompt), likely_end), json!({"min_tokens": 10})),
    );
    assert_eq!((more.status, &more.json()["error"]["param"]), (400, &json!("min_tokens")));

    let tokens = ask(json!({"prompt": [5, 6, 7], "max_tokens": 2}));
    assert_eq!(
        tokens["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    );
    assert_eq!(tokens["choices"][0]["finish_reason"], "length");
}

/// As evaluation harnesses ask: how likely a text is, and no more.
#[test]
fn a_prompt_is_scored_alone() {
    let server = serving(&[]);
    let (prompt, _) = references().swap_remove(0);
    let ask = |fields: Value| server.post("/v1/completions", &with(greedy(&prompt), fields)).ok();
    let alone = json!({"max_tokens": 0, "echo": true, "logprobs": 1});
    let scored = ask(alone.clone()).json();
    let choice = &scored["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(prompt), &json!("length")));
    assert_eq!(scored["usage"]["completion_tokens"], 0);
    let of = |choice: &Value, name: &str| choice["logprobs"][name].as_array().unwrap().clone();
    let tokens = of(choice, "tokens");
    assert_eq!(tokens.len() as u64, scored["usage"]["prompt_tokens"].as_u64().unwrap());
    for (token, top) in tokens.iter().zip(of(choice, "top_logprobs")).skip(1) {
        assert!(top[token.as_str().unwrap()].is_number(), "{token} is not in {top}");
    }
    // The same as of an answer that goes on.
    let before = ask(json!({"max_tokens": 2, "echo": true, "logprobs": 1})).json();
    for name in ["tokens", "token_logprobs", "text_offset"] {
        let before = of(&before["choices"][0], name);
        assert_eq!(before[..tokens.len()], of(choice, name));
    }
    let streamed = ask(with(alone, json!({"stream": true}))).events();
    assert_eq!(streamed[0]["choices"][0]["text"], prompt);
    assert_eq!(streamed.last().unwrap()["choices"][0]["finish_reason"], "length");
    let texts = json!({"prompt": [prompt, "The"], "max_tokens": 0, "echo": true});
    assert_eq!(ask(texts).json()["choices"][1]["text"], "The");
    let nothing = with(greedy(&prompt), json!({"max_tokens": 0}));
    assert_eq!(server.post("/v1/completions", &nothing).status, 400);
}

/// Whatever a stop string falls apart into: of a stream, no piece shows a part of it.
#[test]
fn stop_strings_are_found_across_tokens_and_pieces() {
    let server = serving(&[]);
    for (prompt, expected) in references() {
        let spaces: Vec<_> = expected.match_indices(' ').map(|(at, _)| at).collect();
        // From the middle of one word to the middle of the next but one.
        for at in spaces.windows(3).step_by(5) {
            let stop = expected.get(at[0] + 2..at[2] + 2);
            let Some(stop) = stop.filter(|stop| expected.match_indices(stop).count() == 1) else {
                continue;
            };
            let before = expected.split_once(stop).unwrap().0;
            let body = with(greedy(&prompt), json!({"stop": [stop, "never said"], "stream": true}));
            let events = server.post("/v1/completions", &body).ok().events();
            let text = |event: &Value| event["choices"][0]["text"].as_str().unwrap().to_owned();
            assert_eq!(events.iter().map(text).collect::<String>(), before, "{stop:?}");
            assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
        }
    }
}

#[test]
fn a_request_that_comes_before_the_first_byte_rides_the_load() {
    let objects = Objects::new();
    objects.serve_folder("models", "demo-model/", &demo_model()).unwrap();
    let turnstile = Turnstile::default();
    let bucket = Bucket::builder().objects(objects).turnstile(&turnstile);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").unwrap();
    let arguments = ["s3://models/demo-model", "--ready=loaded"];
    let server = Serving::start_with(&arguments, |command| command.envs(bucket.environment()));

    let (prompt, expected) = references().swap_remove(0);
    let waiting = server.send("POST", "/v1/completions", &greedy(&prompt).to_string());
    let status = server.until(|status| status["requests_in_flight"] == 1);
    assert_eq!((&status["state"], &status["bytes"]["fetched"]), (&json!("STARTING"), &json!(0)));
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.get("/health/ready").status, 503);
    let wrong = server.post("/v1/completions", &json!({"model": "demo-model", "prompt": 7}));
    assert_eq!(wrong.status, 400, "what is wrong is told at once");

    let cold = released(&turnstile, waiting);
    assert_eq!(cold.text(), expected);
    let timing = cold.header("server-timing").unwrap();
    for name in ["before;", "streaming;", "after;", "ttft;"] {
        assert!(timing.contains(name), "{timing}");
    }
    server.until(|status| status["state"] == "READY");
    assert_eq!(server.get("/health/ready").status, 200);
    let warm = server.post("/v1/completions", &greedy(&prompt)).ok();
    assert_eq!((warm.text(), warm.header("server-timing")), (expected, None));
}

fn released(turnstile: &Turnstile, waiting: Answer) -> Reply {
    told(turnstile, waiting).ok()
}

/// What is answered while the answers that the turnstile holds back are let go.
fn told(turnstile: &Turnstile, waiting: Answer) -> Reply {
    thread::scope(|scope| {
        let answer = scope.spawn(|| waiting.whole());
        while !answer.is_finished() {
            turnstile.release();
            thread::sleep(Duration::from_millis(1));
        }
        answer.join().unwrap()
    })
}

/// A table of 16 MiB that is not the output matrix as well: the first token does not need it.
#[test]
fn a_table_that_prompts_alone_need_comes_last_and_its_rows_before() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = RandomModel::tiny().untied(32_768).folder_in(cache).unwrap();
    let asked = json!({"model": "m", "prompt": [5, 6, 7], "max_tokens": 4, "temperature": 0, "logprobs": 0});
    let logprobs = |reply: Reply| reply.json()["choices"][0]["logprobs"]["token_logprobs"].clone();
    let local = Serving::start(&[folder.to_str().unwrap(), "--served-model-name=m"]);
    let expected = logprobs(local.post("/v1/completions", &asked).ok());

    let objects = Objects::new();
    objects.serve_folder("models", "m/", &folder).unwrap();
    let turnstile = Turnstile::default();
    let bucket = Bucket::builder().objects(objects).turnstile(&turnstile);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").unwrap();
    let arguments = ["s3://models/m", "--served-model-name=m"];
    let server = Serving::start_with(&arguments, |command| command.envs(bucket.environment()));
    let waiting = server.send("POST", "/v1/completions", &asked.to_string());
    server.until(|status| status["requests_in_flight"] == 1);
    assert_eq!(logprobs(released(&turnstile, waiting)), expected);
    assert_eq!(expected.as_array().unwrap().len(), 4);
    let requests = bucket.requests();
    let ranges = requests.iter().filter_map(|request| request.range.clone());
    let three_rows = 3 * 256 * 2;
    assert!(ranges.into_iter().any(|range| range.end - range.start == three_rows));
}

#[test]
fn a_load_that_failed_is_told_to_everybody_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().to_str().unwrap();
    let mut server = Serving::start(&[model, "--served-model-name=m"]);
    let status = server.until(|status| status["state"] == "FAILED");
    assert!(status["error"].as_str().unwrap().contains("has no config.json"));
    let reply = server.post("/v1/completions", &json!({"model": "m", "prompt": "x"}));
    assert_eq!(reply.status, 503);
    let error = &reply.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("has no config.json"), "{error}");
    assert_eq!(server.get("/health/live").status, 503);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(1));
    assert!(server.log().contains("has no config.json"));
}

/// The row of one token in the embedding is damaged.
#[test]
fn an_answer_without_numbers_fails_alone() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = copied(&RandomModel::tiny().untied(32_768).folder_in(cache).unwrap());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header_bytes = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let table = &header["model.embed_tokens.weight"];
    let begin = usize::try_from(table["data_offsets"][0].as_u64().unwrap()).unwrap();
    let row_bytes = 2 * usize::try_from(table["shape"][1].as_u64().unwrap()).unwrap();
    let row = 8 + header_bytes + begin + 7 * row_bytes;
    for value in bytes[row..row + row_bytes].chunks_exact_mut(2) {
        value.copy_from_slice(&0x7FC0_u16.to_le_bytes());
    }
    fs::write(&weights, bytes).unwrap();

    let model = folder.path().to_str().unwrap();
    let server = Serving::start(&[model, "--served-model-name=m"]);
    let ask = |token: u32, stream: bool| {
        let asked = json!({"model": "m", "prompt": [5, token], "max_tokens": 2, "stream": stream,
                           "temperature": 0});
        server.post("/v1/completions", &asked)
    };
    for stream in [false, true] {
        let reply = ask(7, stream);
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["code"]), (500, &json!("bad_logits")), "{reply:?}");
        assert_eq!(error["type"], "server_error");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("the weights may be damaged"), "{message}");
        ask(6, stream).ok();
    }
    assert_eq!(server.get("/health/live").status, 200);
    let log = server.log();
    assert_eq!(log.matches("an answer failed").count(), 2, "{log}");
    assert!(server.get("/metrics").body.contains("firstlight_failed 0"));
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let server = serving(&["--max-num-seqs=2"]);
    server.until(|status| status["state"] == "READY");
    for _ in 0..8 {
        let mut answer = server.send("POST", "/v1/completions", &long().to_string());
        answer.until("data: ");
    }
    let whole = with(long(), json!({"stream": false}));
    drop(server.send("POST", "/v1/completions", &whole.to_string()));
    let status = server.until(|status| {
        let engine = &status["engine"];
        engine["running"] == 0 && engine["waiting"] == 0 && status["requests_in_flight"] == 0
    });
    assert_eq!(status["engine"]["kv_blocks_used"], 0);
    let (prompt, expected) = references().swap_remove(0);
    assert_eq!(server.post("/v1/completions", &greedy(&prompt)).ok().text(), expected);
}

#[test]
fn after_sigterm_what_runs_is_finished_and_nothing_more_is_taken() {
    let mut server = serving(&[]);
    let mut answer = server.send("POST", "/v1/completions", &long().to_string());
    answer.until("data: ");
    server.signal(Signal::TERM);
    while TcpStream::connect(server.address).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    answer.until("data: [DONE]");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn what_runs_longer_than_the_drain_is_broken_off() {
    let mut server = serving(&["--drain=0"]);
    let many = with(long(), json!({"n": 64}));
    let mut answer = server.send("POST", "/v1/completions", &many.to_string());
    answer.until("data: ");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(server.log().contains("is broken off"));
    while let Some(line) = answer.line() {
        assert_ne!(line, "data: [DONE]");
    }
}

/// Before the model is known, and while its weights are on their way: nothing computes that could tell.
#[test]
fn who_rides_a_load_that_the_drain_does_not_outlast_is_told_so() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = RandomModel::tiny().untied(32_768).folder_in(cache).unwrap();
    let asked = json!({"model": "m", "prompt": [5, 6, 7], "max_tokens": 4});
    let streamed = with(asked.clone(), json!({"stream": true}));
    for is_known in [false, true] {
        let objects = Objects::new();
        objects.serve_folder("models", "m/", &folder).unwrap();
        let turnstile = Turnstile::default();
        let bucket = Bucket::builder().objects(objects).turnstile(&turnstile);
        let bucket = bucket.start_on_own_thread("127.0.0.1:0").unwrap();
        let arguments = ["s3://models/m", "--served-model-name=m", "--drain=0"];
        let mut server =
            Serving::start_with(&arguments, |command| command.envs(bucket.environment()));
        while is_known && server.status()["engine"].is_null() {
            turnstile.release();
        }
        let bodies = [&asked, &streamed].map(Value::to_string);
        let waiting = bodies.map(|body| server.send("POST", "/v1/completions", &body));
        let status = server.until(|status| status["requests_in_flight"] == 2);
        assert_eq!(status["state"], if is_known { "LOADING" } else { "STARTING" });
        server.signal(Signal::TERM);
        for answer in waiting {
            let reply = answer.whole();
            assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &json!("stopping")));
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        assert_eq!(server.ended().code(), Some(0));
        let log = server.log();
        assert_eq!(log.matches("status=503").count(), 2, "{log}");
    }
}

#[test]
fn an_instance_that_nobody_asks_ends() {
    let mut server = serving(&["--idle-exit=1"]);
    server.get("/health");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn past_the_bound_of_the_queue_requests_are_refused_and_told_when_to_come_again() {
    let server = serving(&["--max-num-seqs=1", "--max-waiting=2"]);
    let mut running = server.send("POST", "/v1/completions", &long().to_string());
    running.until("data: ");
    let refused = server.post("/v1/completions", &with(greedy("Once"), json!({"n": 9})));
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    drop(running);
    let (prompt, expected) = references().swap_remove(0);
    assert_eq!(server.post("/v1/completions", &greedy(&prompt)).ok().text(), expected);
}

#[test]
fn slow_clients_are_given_up() {
    let server = serving(&["--client-timeout=1", "--keep-alive=3600"]);
    let mut idle = server.connect();
    idle.write_all(b"GET /health HT").unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "the head never came");

    let mut silent = server.connect();
    silent.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "nothing came at all");

    let mut body = server.connect();
    let head = request_head("POST", "/v1/completions", 100);
    body.write_all(format!("{head}\r\n{{").as_bytes()).unwrap();
    assert_eq!(Answer::new(body).whole().status, 408);

    // More than the buffers of both sides take, and nobody reads.
    let many = with(long(), json!({"n": 128, "logprobs": 20, "max_tokens": 300}));
    let _deaf = server.send("POST", "/v1/completions", &many.to_string());
    server.until(|status| status["requests_in_flight"] == 1);
    server.until(|status| {
        status["requests_in_flight"] == 0 && status["engine"]["kv_blocks_used"] == 0
    });
    assert!(server.log().contains("complete=false"), "{}", server.log());
}

/// An hour is what all of them may wait: none of it is over when the probe is answered.
#[test]
fn idle_connections_do_not_keep_anybody_out() {
    let server = serving(&["--connections=3", "--client-timeout=3600", "--keep-alive=3600"]);
    let silent: Vec<_> = (0..3).map(|_| server.connect()).collect();
    assert_eq!(server.get("/health/live").status, 200);
    let halves = (0..3).map(|_| {
        let mut half = server.connect();
        half.write_all(b"GET /v1/mo").unwrap();
        half
    });
    let halves: Vec<_> = halves.collect();
    assert_eq!(server.get("/health/live").status, 200);
    let kept = (0..3).map(|_| {
        let mut kept = server.connect();
        let head = request_head("GET", "/health/live", 0).replace("connection: close\r\n", "");
        kept.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut kept = Answer::new(kept);
        while kept.line().is_some_and(|line| !line.is_empty()) {}
        kept
    });
    let kept: Vec<_> = kept.collect();
    assert_eq!(server.get("/health/live").status, 200);

    // Whoever is being answered stays.
    let running = (0..2).map(|_| server.send("POST", "/v1/completions", &long().to_string()));
    let mut running: Vec<_> = running.collect();
    for answer in &mut running {
        answer.until("data: ");
    }
    let last = server.connect();
    assert_eq!(server.get("/health/live").status, 200);
    for answer in &mut running {
        answer.until("data: [DONE]");
    }
    drop((silent, halves, kept, last));
}

#[test]
fn bad_requests_are_told_what_is_wrong_with_them_and_harm_nobody() {
    let server = serving(&["--body-limit=100kB", "--max-answer-tokens=100"]);
    let mut running = server.send(
        "POST",
        "/v1/completions",
        &{ with(long(), json!({"max_tokens": 100})) }.to_string(),
    );
    running.until("data: ");
    let completion = |fields: Value| with(greedy("Once"), fields).to_string();
    let long_text = "word ".repeat(2000);
    let huge = "x".repeat(200_000);
    for (body, status, param, code) in [
        ("{\"model\": ".to_owned(), 400, None, None),
        (
            completion(json!({"prompt": long_text})),
            400,
            Some("prompt"),
            Some("context_length_exceeded"),
        ),
        (completion(json!({"prompt": [[]]})), 400, Some("prompt"), None),
        (completion(json!({"prompt": [99999]})), 400, Some("prompt"), None),
        (completion(json!({"prompt": huge})), 413, None, None),
        (completion(json!({"model": "gpt-4"})), 404, Some("model"), Some("model_not_found")),
        (completion(json!({"max_tokens": 101})), 400, Some("max_tokens"), Some("invalid_value")),
        (completion(json!({"temperature": []})), 400, Some("temperature"), Some("invalid_type")),
        (
            completion(json!({"logit_bias": {"99999": 1}})),
            400,
            Some("logit_bias"),
            Some("invalid_value"),
        ),
        (completion(json!({"stop": ["a", ""]})), 400, Some("stop"), Some("invalid_value")),
        (
            completion(json!({"prompt": vec!["a"; 100], "n": 2})),
            400,
            Some("n"),
            Some("invalid_value"),
        ),
    ] {
        let reply = server.send("POST", "/v1/completions", &body).whole();
        let error = &reply.json()["error"];
        assert_eq!((reply.status, error["param"].as_str()), (status, param), "{body:.80}: {error}");
        assert_eq!(error["code"].as_str(), code, "{body:.80}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let mut asking = server.connect();
    let head = request_head("POST", "/v1/completions", 200_000);
    asking.write_all(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(Answer::new(asking).whole().status, 413, "nothing of it has to be sent");
    running.until("data: [DONE]");
}

#[test]
fn no_key_is_in_the_log() {
    let model = demo_model();
    let arguments = [model.to_str().unwrap(), "--log=json", "--log-level=debug"];
    let server = Serving::start_with(&arguments, |command| {
        command.env("FIRSTLIGHT_API_KEY", "sk-one-secret")
    });
    assert_eq!(server.get("/v1/models").status, 401);
    for (key, status) in [("sk-one-secret", 200), ("sk-another-secret", 401)] {
        let mut stream = server.connect();
        let head = request_head("GET", "/v1/models?key=sk-third-secret", 0);
        let head = format!("{head}authorization: Bearer {key}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(Answer::new(stream).whole().status, status);
    }
    let log = server.log();
    assert!(log.contains("\"route\":\"/v1/models\""), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn health_is_asked_as_a_container_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut failed = Serving::start(&[folder.path().to_str().unwrap()]);
    failed.until(|status| status["state"] == "FAILED");
    let unwell = health(&failed, "--live").failure();
    let port = failed.address.port();
    assert_eq!(
        unwell.stderr,
        format!("error: http://127.0.0.1:{port}/health/live: status 503: {{\"live\":false}}\n")
    );
    failed.signal(Signal::TERM);
    failed.ended();
    assert!(health(&failed, "--ready").failure().stderr.contains("refused"));

    let model = demo_model();
    let server = Serving::start_with(&[], |it| it.env("STORAGE_URI", &model));
    server.until(|status| status["state"] == "READY");
    let port = server.address.port();
    let well = Firstlight::new(["health"]).env("FIRSTLIGHT_HOST", "0.0.0.0");
    let well = well.env("PORT", port.to_string()).run().success();
    assert_eq!(well.stdout, format!("http://127.0.0.1:{port}/health/ready: {{\"ready\":true}}\n"));
}

fn health(server: &Serving, kind: &str) -> Finished {
    let port = format!("--port={}", server.address.port());
    Firstlight::new(["health", &port, kind]).run()
}

#[test]
fn a_server_without_a_model_says_where_it_looked() {
    let finished = Firstlight::new(["serve", "--port=0"]).env("MODEL", "").run().failure();
    assert!(finished.stderr.contains("no model was named: MODEL and STORAGE_URI"), "{finished}");
}

#[test]
fn a_load_that_failed_is_told_and_ends_the_process_where_that_was_asked_for() {
    let objects = Objects::new();
    objects.insert("models", "m/tokenizer.json", "{}");
    let turnstile = Turnstile::default();
    let bucket = Bucket::builder().objects(objects).turnstile(&turnstile);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").unwrap();
    let arguments = ["s3://models/m", "--exit-on-failure"];
    let mut server = Serving::start_with(&arguments, |it| it.envs(bucket.environment()));
    let asked = json!({"model": "m", "prompt": "Once"}).to_string();
    let waiting = server.send("POST", "/v1/completions", &asked);
    server.until(|status| status["requests_in_flight"] == 1);
    let reply = told(&turnstile, waiting);
    assert_eq!(reply.status, 503);
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("has no config.json"));
    assert_eq!(server.ended().code(), Some(1));
    assert!(server.log().contains("has no config.json"), "{}", server.log());
}

#[test]
fn a_key_that_is_blank_opens_no_door() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, "# nobody yet\n\n").unwrap();
    let serve = |arguments: &[&str], key: Option<&str>| {
        let command = Firstlight::new(["serve", "model", "--port=0"].iter().chain(arguments));
        let command = key.into_iter().fold(command, |it, key| it.env("FIRSTLIGHT_API_KEY", key));
        command.run().failure().stderr
    };
    for key in ["", " \n"] {
        let said = serve(&[], Some(key));
        assert!(said.starts_with("error: `FIRSTLIGHT_API_KEY` has no API key"), "{said}");
    }
    assert!(serve(&["--api-key="], None).contains("has no API key"));
    let file = file.to_str().unwrap();
    let said = serve(&["--api-key-file", file], Some("one"));
    assert!(said.starts_with(&format!("error: `{file}` has no API key")), "{said}");
}

#[test]
fn whether_a_key_is_needed_is_in_the_log() {
    let model = demo_model();
    let model = model.to_str().unwrap();
    let said = |arguments: &[&str], key: Option<&str>| {
        let arguments = [&[model, "--log-level=info"], arguments].concat();
        let server = Serving::start_with(&arguments, |it| {
            key.into_iter()
                .fold(it, |it, key| it.env("FIRSTLIGHT_APIKEY", "x").env("FIRSTLIGHT_API_KEY", key))
        });
        server.until(|status| status["state"] == "READY");
        server.log()
    };
    let open = said(&[], None);
    assert!(open.contains(" INFO requests need no API key; they come from this machine"), "{open}");
    let guarded = said(&[], Some("one"));
    assert!(guarded.contains(" INFO requests need one of 1 API keys"), "{guarded}");
    assert!(guarded.contains(" WARN no option has the variable `FIRSTLIGHT_APIKEY`"), "{guarded}");
}
