//! A client as its dice would have it: what it asks for, and how long it stays.

use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::random_model::Random;
use crate::support::serving::{Answer, Reply, Serving, request_head};
use crate::{Soak, greedy};

/// What can happen to a client.
pub(crate) const EVENTS: [&str; 9] = [
    "asked",
    "answered whole",
    "answered in a stream",
    "answered as the reference",
    "turned away",
    "told that it is wrong",
    "gone before it asked",
    "gone at once",
    "gone amid its answer",
];

pub(crate) struct Client<'a> {
    soak: &'a Soak<'a>,
    dice: Random,
}

impl<'a> Client<'a> {
    pub(crate) fn new(number: usize, soak: &'a Soak<'a>) -> Self {
        Self { soak, dice: Random::new(number as u64, "client") }
    }

    pub(crate) fn comes_and_goes(mut self) {
        loop {
            match self.throw(10) {
                0 => self.goes_before_it_asks(),
                1 => self.is_wrong(),
                2 => self.looks(),
                3..5 => self.asks_what_is_known(),
                5..7 => self.stays(),
                7 => self.goes_at_once(),
                _ => self.goes_amid_its_answer(),
            }
            if !self.soak.goes_on() {
                return;
            }
        }
    }

    /// A number below `sides`.
    fn throw(&mut self, sides: u64) -> u64 {
        self.dice.draw() % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.throw(sides) == 0
    }

    fn server(&self) -> &'a Serving {
        self.soak.server
    }

    fn send(&self, ask: &Ask) -> Answer {
        let answer = self.server().send("POST", ask.path, &ask.body.to_string());
        self.soak.note("asked");
        answer
    }

    /// A part of a request, and no more.
    fn goes_before_it_asks(&mut self) {
        let ask = self.ask();
        let body = ask.body.to_string();
        let whole = format!("{}\r\n{body}", request_head("POST", ask.path, body.len()));
        let end = self.throw(whole.len() as u64);
        let mut stream = self.server().connect();
        stream.write_all(&whole.as_bytes()[..usize::try_from(end).unwrap()]).unwrap();
        self.soak.note("gone before it asked");
    }

    fn goes_at_once(&mut self) {
        let ask = self.ask();
        drop(self.send(&ask));
        self.soak.note("gone at once");
    }

    fn goes_amid_its_answer(&mut self) {
        let mut ask = self.ask();
        ask.body["stream"] = json!(true);
        let mut answer = self.send(&ask);
        for _ in 0..=self.throw(40) {
            if answer.line().is_none() {
                return;
            }
        }
        self.soak.note("gone amid its answer");
    }

    fn stays(&mut self) {
        let ask = self.ask();
        let reply = self.send(&ask).whole();
        if !self.is_turned_away(&reply) {
            self.soak.note(ask.check(&reply.ok()));
        }
    }

    fn asks_what_is_known(&mut self) {
        let (prompt, expected) = {
            let references = self.soak.references();
            let which = self.dice.draw() % references.len() as u64;
            &references[usize::try_from(which).unwrap()]
        };
        let mut ask = Ask { path: "/v1/completions", body: greedy(prompt) };
        if self.one_in(2) {
            ask.body["stream"] = json!(true);
        }
        let reply = self.send(&ask).whole();
        if !self.is_turned_away(&reply) {
            assert_eq!(ask.text(&reply.ok()), *expected);
            self.soak.note("answered as the reference");
        }
    }

    /// As many wait already as may.
    fn is_turned_away(&self, reply: &Reply) -> bool {
        let is_turned_away = reply.status == 429;
        if is_turned_away {
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
            self.soak.note("turned away");
            thread::sleep(PATIENCE);
        }
        is_turned_away
    }

    fn is_wrong(&mut self) {
        let wrong = WRONG.len() as u64 + 2;
        let (body, status) = match self.throw(wrong) {
            0 => (with(&greedy(&"word ".repeat(2000)), "n", json!(3)), 400),
            1 => (with(&greedy(&"x".repeat(100_000)), "n", json!(1)), 413),
            n => {
                let (field, value, status) = WRONG[usize::try_from(n).unwrap() - 2];
                (with(&greedy("Once"), field, serde_json::from_str(value).unwrap()), status)
            }
        };
        let text = body.to_string();
        // Cut, it is no JSON at all.
        let (text, status) = if self.one_in(8) { (&text[..20], 400) } else { (&text[..], status) };
        let mut answer = self.server().send("POST", "/v1/completions", text);
        self.soak.note("asked");
        // Of what is too long the rest is not read, which may break the connection off before the answer is through.
        let found = answer.line().map_or(413, |line| line[9..12].parse().unwrap());
        if found == 429 {
            // What the model has to be known for is looked at when there is room in the queue.
            return self.soak.note("turned away");
        }
        assert_eq!(found, status, "{text:.200}");
        self.soak.note("told that it is wrong");
    }

    fn looks(&mut self) {
        let paths = ["/status", "/metrics", "/health/ready", "/v1/models"];
        let path = paths[usize::try_from(self.throw(4)).unwrap()];
        assert_eq!(self.server().get(path).status, 200, "{path}");
    }

    /// Something that can be answered.
    fn ask(&mut self) -> Ask {
        let prompt = "Once upon a time ".repeat(1 + usize::try_from(self.throw(60)).unwrap());
        let mut body = json!({
            "model": "demo-model", "max_tokens": 1 + self.throw(200), "n": 1 + self.throw(3),
            "seed": self.throw(1 << 40), "temperature": self.throw(4) as f64 / 2.0, "stream": self.one_in(2),
        });
        if self.one_in(3) {
            // The end of a text.
            body["logit_bias"] = json!({"1": -100});
        }
        if self.one_in(4) {
            body["stop"] = json!([". ", "the end"]);
        }
        if self.one_in(2) {
            body["messages"] = json!([{"role": "user", "content": prompt}]);
            body["logprobs"] = json!(self.one_in(4));
            return Ask { path: "/v1/chat/completions", body };
        }
        body["prompt"] = if self.one_in(4) { json!([prompt, "The"]) } else { json!(prompt) };
        body["echo"] = json!(self.one_in(4));
        if self.one_in(4) {
            body["logprobs"] = json!(self.throw(6));
        }
        Ask { path: "/v1/completions", body }
    }
}

/// A request.
struct Ask {
    path: &'static str,
    body: Value,
}

impl Ask {
    fn is_streamed(&self) -> bool {
        self.body["stream"] == true
    }

    /// What answers have to be, whatever their words are; how it came.
    fn check(&self, reply: &Reply) -> &'static str {
        let prompts = self.body["prompt"].as_array().map_or(1, Vec::len) as u64;
        let answers = prompts * self.body["n"].as_u64().unwrap();
        if self.is_streamed() {
            let events = reply.events();
            let ends =
                events.iter().filter(|event| !event["choices"][0]["finish_reason"].is_null());
            assert_eq!(ends.count() as u64, answers);
            return "answered in a stream";
        }
        let whole = reply.json();
        let choices = whole["choices"].as_array().unwrap();
        assert_eq!(choices.len() as u64, answers);
        assert!(
            choices
                .iter()
                .all(|choice| ["stop", "length"]
                    .contains(&choice["finish_reason"].as_str().unwrap()))
        );
        let tokens = whole["usage"]["completion_tokens"].as_u64().unwrap();
        assert!(
            tokens <= answers * self.body["max_tokens"].as_u64().unwrap(),
            "{}",
            whole["usage"]
        );
        "answered whole"
    }

    /// Of a completion.
    fn text(&self, reply: &Reply) -> String {
        if !self.is_streamed() {
            return reply.text();
        }
        let events = reply.events();
        events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect()
    }
}

/// Less than is asked for, so that the queue is full again and again.
const PATIENCE: Duration = Duration::from_millis(100);

fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

/// Fields that are wrong, and the status that says so.
const WRONG: [(&str, &str, u16); 8] = [
    ("model", "\"gpt-4\"", 404),
    ("prompt", "7", 400),
    ("prompt", "[99999]", 400),
    ("max_tokens", "401", 400),
    ("temperature", "[]", 400),
    ("n", "1000000", 400),
    ("stop", "{\"a\": 1}", 400),
    ("logit_bias", "{\"99999\": 1}", 400),
];
