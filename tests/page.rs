//! The page of `firstlight serve`, in a browser: read, clicked and typed into as people do.
//!
//! Pictures of it are left in `target/tmp`, to be looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firstlight_bucket::{Bucket, Link, Objects, Turnstile};
use libtest_mimic::{Arguments, Trial, run};
use serde_json::{Value, json};

use support::browser::{Look, Page};
use support::checkpoint::StoredAs;
use support::chromium::Chromium;
use support::demo_model::{demo_model, references};
use support::needs::{Missing, trial};
use support::published::minilm;
use support::serving::Serving;
use support::smollm2::smollm2;

mod support;

fn main() {
    let trials = vec![
        trial("a_conversation_is_streamed_and_can_be_stopped", chat, |(chromium, folder)| {
            converse(&chromium, &folder);
        }),
        trial("a_request_from_the_page_rides_the_load", Chromium::fetch, |it| ride(&it)),
        trial("a_key_is_asked_for_and_wrong_ones_are_told", Chromium::fetch, |it| unlock(&it)),
        trial("a_model_that_failed_says_why", Chromium::fetch, |it| fail(&it)),
        trial("texts_are_compared", embeddings, |(chromium, folder)| compare(&chromium, &folder)),
        Trial::test("where_no_page_is_wanted_there_is_none", || {
            without();
            Ok(())
        }),
    ];
    run(&Arguments::from_args(), trials).exit();
}

fn chat() -> Result<(Chromium, PathBuf), Missing> {
    Ok((Chromium::fetch()?, smollm2(StoredAs::Bf16)?))
}

fn embeddings() -> Result<(Chromium, PathBuf), Missing> {
    Ok((Chromium::fetch()?, minilm()?))
}

fn text_of(folder: &Path) -> &str {
    folder.to_str().expect("UTF-8")
}

/// A page of `server`, and where it is.
fn open(chromium: &Chromium, server: &Serving) -> (Page, String) {
    let page = Page::new(chromium);
    let origin = visit(&page, server);
    (page, origin)
}

fn visit(page: &Page, server: &Serving) -> String {
    let origin = format!("http://{}/", server.address);
    page.open(&origin);
    origin
}

/// A published model that knows chat, behind a link of one gigabit a second.
fn converse(chromium: &Chromium, folder: &Path) {
    let objects = Objects::new();
    objects.serve_folder("models", "smollm2/", folder).expect("it is there");
    let link = Link {
        rate: Some("1gbit".parse().expect("a rate")),
        connection_rate: Some("100MB/s".parse().expect("a rate")),
        first_byte: Duration::from_millis(30),
    };
    let bucket = Bucket::builder().objects(objects).link(link);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").expect("a port");
    let arguments =
        ["s3://models/smollm2", "--served-model-name=SmolLM2-135M-Instruct", "--link=1gbit"];
    let page = Page::new(chromium);
    let server = Serving::start_with(&arguments, |command| command.envs(bucket.environment()));

    // A short answer, to its end, asked for while the weights arrive.
    let origin = visit(&page, &server);
    page.fill("#temperature", "0");
    page.fill("#max_tokens", "48");
    page.click("#prompt");
    page.types("What is gravity?");
    page.press("Enter", true);
    page.types("Three sentences, please.");
    page.press("Enter", false);
    page.until_text(".cost", "ended by");
    page.until_text("#state", "READY");
    assert_eq!(page.text(".user .text"), "What is gravity?\nThree sentences, please.");
    let cost = page.text(".cost");
    for part in ["to the first token", "tokens/s", "tokens of prompt", "tokens of answer"] {
        assert!(cost.contains(part), "{cost}");
    }

    // A long one grows until it is stopped; then the model is at rest.
    page.fill("#max_tokens", "2000");
    page.fill("#prompt", "Write a long story about a lighthouse.");
    page.click("#send");
    let length = |page: &Page| {
        let length = page.value("[...document.querySelectorAll('.model .text')].at(-1).innerText");
        length.as_str().expect("text").len()
    };
    page.until("[...document.querySelectorAll('.model .text')].at(-1).innerText.length > 0");
    let early = length(&page);
    page.until(&format!(
        "[...document.querySelectorAll('.model .text')].at(-1).innerText.length > {early}"
    ));
    page.click("#stop");
    page.until_text(".cost", "ended by Stop");
    server.until(|status| status["engine"]["running"] == 0);
    let stopped = length(&page);
    page.until("document.querySelector('#stop').hidden");
    assert_eq!(length(&page), stopped);
    page.until("document.activeElement.id === 'prompt'");

    every_control_has_a_name(&page);
    looks(&page, "page");
    page.click("#clear");
    page.until("document.querySelectorAll('.turn').length === 0");
    page.check(&origin, &[]);
}

fn every_control_has_a_name(page: &Page) {
    let controls = page.controls();
    let names: Vec<_> = controls.iter().map(|(_, name)| name.as_str()).collect();
    for expected in ["Message", "Send", "Max tokens", "Temperature", "Top-p", "System prompt"] {
        assert!(names.contains(&expected), "`{expected}` is not among {names:?}");
    }
    assert!(!names.contains(&""), "{controls:?}");
}

/// Light, dark and on a phone, where nothing may be wider than the screen.
fn looks(page: &Page, name: &str) {
    let paper = "getComputedStyle(document.body).backgroundColor";
    page.picture(&format!("{name}-light.png"));
    let light = page.value(paper);
    page.look(Look { width: 1280, height: 800, is_dark: true });
    page.picture(&format!("{name}-dark.png"));
    assert_ne!(page.value(paper), light);
    page.look(Look { width: 375, height: 720, is_dark: false });
    let wide = "document.documentElement.scrollWidth - innerWidth";
    assert_eq!(page.value(wide), 0, "too wide for a phone");
    page.picture(&format!("{name}-phone.png"));
    page.look(Look { width: 1280, height: 800, is_dark: false });
}

/// A model behind a link on which nothing moves but what is let go.
fn ride(chromium: &Chromium) {
    let objects = Objects::new();
    objects.serve_folder("models", "demo-model/", &demo_model()).expect("it is there");
    let turnstile = Turnstile::default();
    let bucket = Bucket::builder().objects(objects).turnstile(&turnstile);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").expect("a port");
    let page = Page::new(chromium);
    let server = Serving::start_with(&["s3://models/demo-model"], |command| {
        command.envs(bucket.environment())
    });
    let origin = visit(&page, &server);
    page.until_text("#state", "STARTING");
    let (prompt, expected) = references().remove(0);
    page.fill("#prompt", &prompt);
    page.fill("#max_tokens", "48");
    page.fill("#temperature", "0");
    page.click("#send");
    page.until_text(".wait", "STARTING");

    // The first round trip brings all but the weights, for which the request then waits at the server.
    turnstile.release();
    let status = server.until(|status| status["requests_in_flight"] == 1);
    assert_eq!(status["state"], "LOADING");
    page.until_text("#state", "LOADING");
    page.until_text(".wait", "LOADING");
    page.until("document.querySelector('.plot .range, .plot .span')");
    page.picture("page-loading.png");
    server.until(|status| {
        turnstile.release();
        status["state"] == "READY"
    });
    page.until_text("#state", "READY");
    page.until_text(".cost", "to the first token, with the load");
    page.until("document.querySelector('#stop').hidden");
    assert_eq!(page.text(".model .text"), prompt + &expected);

    // The drawing is that of the whole start.
    page.until_text(".figures", "to the first token");
    page.until("document.querySelectorAll('.plot .range').length > 2");
    page.until("document.querySelector('.plot line.ttft')");
    page.picture("page-ridden.png");
    page.check(&origin, &[]);
}

fn unlock(chromium: &Chromium) {
    let model = demo_model();
    let server = Serving::start_with(&[text_of(&model)], |command| {
        command.env("FIRSTLIGHT_API_KEY", "open-sesame")
    });
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/v1/models").status, 401);
    let (page, origin) = open(chromium, &server);
    page.until_text("#state", "READY");
    page.until("!document.querySelector('#key-field').hidden");
    page.fill("#prompt", "Once upon a time");
    page.click("#send");
    page.until_text(".error", "an API key is needed");
    page.until_text(".error", "401 · authentication_error · invalid_api_key");
    assert_eq!(page.value("document.activeElement.id"), "key");
    for (key, says) in [("sesame", "not one of those that are known"), ("open-sesame", "")] {
        page.fill("#key", key);
        page.click("#clear");
        page.fill("#prompt", "Once upon a time");
        page.click("#send");
        if says.is_empty() {
            page.until_text(".cost", "tokens of answer");
        } else {
            page.until_text(".error", says);
        }
    }
    let kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])";
    assert_eq!(page.value(kept), "[{},{},\"\"]", "the key is kept nowhere");
    page.check(&origin, &["status of 401"]);
}

fn fail(chromium: &Chromium) {
    let folder = tempfile::tempdir().expect("there is a place for it");
    let server = Serving::start(&[text_of(folder.path()), "--served-model-name=<i>none</i>"]);
    let (page, origin) = open(chromium, &server);
    page.until_text("#state", "FAILED");
    page.until_text("#failure .error", "has no config.json");
    page.fill("#prompt", "<img src=nowhere>");
    page.press("Enter", false);
    page.until_text(".model .error", "the model could not be loaded");
    page.until_text(".model .error small", "503 · server_error · load_failed");
    let prompt = page.value("document.querySelector('#prompt').value");
    assert_eq!(prompt, "<img src=nowhere>", "nothing is lost");
    assert_eq!(
        (page.text(".user .text").as_str(), page.text("#model").as_str()),
        ("<img src=nowhere>", "<i>none</i>"),
        "text is text"
    );
    assert_eq!(page.value("document.querySelectorAll('main img, i').length"), 0);
    page.picture("page-failed.png");
    page.check(&origin, &["status of 503"]);
}

fn compare(chromium: &Chromium, folder: &Path) {
    let server = Serving::start(&[text_of(folder)]);
    let (page, origin) = open(chromium, &server);
    page.until("!document.querySelector('#compare').hidden");
    let texts = ["A cat sleeps.", "A kitten naps.", "Shares fell on Monday."];
    for (n, text) in texts.iter().enumerate() {
        page.fill(&format!("#texts li:nth-child({}) input", n + 1), text);
    }
    page.click("#measure");
    page.until_text(".cost", "384 dimensions");
    let found =
        page.value("[...document.querySelectorAll('.matrix td span')].map((e) => +e.innerText)");
    let found: Vec<_> =
        found.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    let model = server.status()["model"].clone();
    let answer =
        server.post("/v1/embeddings", &json!({"model": model, "input": texts})).ok().json();
    let vector = |n: usize| -> Vec<f64> {
        let vector = answer["data"][n]["embedding"].as_array().expect("a list");
        vector.iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    let expected =
        (0..9).map(|n| vector(n / 3).iter().zip(vector(n % 3)).map(|(a, b)| a * b).sum::<f64>());
    assert_eq!(found.len(), 9);
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-3, "{found}, not {expected}");
    }
    looks(&page, "page-embeddings");

    // One more text, which is too long for the model.
    page.click("#add");
    page.types(&"word ".repeat(300));
    page.press("Enter", false);
    page.until_text(".error", "302 tokens, and the model takes 256");
    page.check(&origin, &["status of 400"]);
}

fn without() {
    let model = demo_model();
    for (arguments, environment, expected) in [
        (vec![], vec![], 200),
        (vec!["--no-ui"], vec![], 404),
        (vec![], vec![("FIRSTLIGHT_NO_UI", "true")], 404),
    ] {
        let arguments = [vec![text_of(&model)], arguments].concat();
        let server = Serving::start_with(&arguments, |command| command.envs(environment));
        for path in ["/", "/page/page.js", "/page/timeline"] {
            assert_eq!(server.get(path).status, expected, "{path}");
        }
        assert_eq!(server.get("/v1/models").status, 200);
    }
}
