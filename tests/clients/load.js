// Many clients at once, by k6: every answer has to be right, however long it takes. What it took is printed.

import { check } from "k6";
import exec from "k6/execution";
import http from "k6/http";

const servers = JSON.parse(__ENV.SERVERS);
const { references } = JSON.parse(open(__ENV.REFERENCES));
const headers = { "content-type": "application/json" };

export const options = {
  scenarios: {
    whole: { executor: "per-vu-iterations", vus: 8, iterations: 20, exec: "whole" },
    streamed: { executor: "per-vu-iterations", vus: 8, iterations: 20, exec: "streamed" },
    embedded: { executor: "per-vu-iterations", vus: 4, iterations: 50, exec: "embedded" },
  },
  thresholds: {
    checks: ["rate==1"],
    http_req_failed: ["rate==0"],
    // No time decides; what has a threshold is printed by itself.
    "http_req_duration{name:completions}": ["max>=0"],
    "http_req_waiting{name:chat/completions}": ["max>=0"],
    "http_req_duration{name:chat/completions}": ["max>=0"],
    "http_req_duration{name:embeddings}": ["max>=0"],
  },
  summaryTrendStats: ["min", "med", "p(90)", "p(99)", "max"],
};

function ask(server, path, body) {
  const asked = JSON.stringify({ model: server, ...body });
  return http.post(`${servers[server]}/v1/${path}`, asked, { headers, timeout: "60s", tags: { name: path } });
}

// The clients take the references in turn.
const mine = () => references[(exec.vu.idInTest + exec.vu.iterationInScenario) % references.length];

export function whole() {
  const { prompt, greedy_text } = mine();
  const answer = ask("story", "completions", { prompt, temperature: 0, max_tokens: 48 });
  check(answer, { "a whole answer is the reference": (it) => it.json("choices.0.text") === greedy_text });
}

export function streamed() {
  const { prompt, greedy_text } = mine();
  const messages = [{ role: "user", content: prompt }];
  const body = { messages, temperature: 0, max_tokens: 48, stream: true };
  const events = ask("story", "chat/completions", body).body.trimEnd().split("\n\n");
  const done = events.pop() === "data: [DONE]";
  const deltas = events.map((event) => JSON.parse(event.slice("data: ".length)).choices[0].delta);
  const text = deltas.map((delta) => delta.content || "").join("");
  check(null, { "a stream is the reference, and ends": () => done && text === greedy_text });
}

export function embedded() {
  const answer = ask("vectors", "embeddings", { input: ["a story", "a dragon", "a story"] });
  const [first, second, third] = answer.json("data").map((item) => item.embedding.join());
  check(null, { "vectors are those of their texts": () => first === third && first !== second });
}
