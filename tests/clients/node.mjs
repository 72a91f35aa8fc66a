// The official client for Node: each of its calls that is served, and each of its errors.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import OpenAI from "openai";

const servers = JSON.parse(process.env.SERVERS);
const { references } = JSON.parse(readFileSync(process.env.REFERENCES));
const { prompt, greedy_text: story } = references[0];
const greedy = { model: "story", temperature: 0, max_tokens: 48 };
const messages = [{ role: "user", content: prompt }];

// As long as the context: the token that ends a text is ruled out.
const endless = { model: "story", prompt: "Once", max_tokens: 500, logit_bias: { 1: -100 } };

function client(server = "story", options = {}) {
  return new OpenAI({ baseURL: `${servers[server]}/v1`, apiKey: "none", maxRetries: 0, ...options });
}

async function becomesIdle() {
  for (;;) {
    const { requests_in_flight, engine } = await (await fetch(`${servers.story}/status`)).json();
    if (requests_in_flight === 0 && engine.kv_blocks_used === 0) return;
    await sleep(10);
  }
}

// What the call is refused with.
async function refused(kind, call) {
  const error = await call().then(() => assert.fail("it was answered"), (error) => error);
  assert.equal(error.constructor.name, kind.name, error);
  return error;
}

// Nothing takes as long; what hangs fails.
const it = (name, body) => test(name, { timeout: 60_000 }, body);

it("a greedy answer is the reference, whole and streamed", async () => {
  const whole = await client().chat.completions.create({ messages, ...greedy });
  assert.equal(whole.choices[0].message.content, story);
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.match(whole._request_id, /^[0-9a-f]{32}$/);
  const options = { stream: true, stream_options: { include_usage: true } };
  const stream = await client().chat.completions.create({ messages, ...greedy, ...options });
  const pieces = await collected(stream);
  const last = pieces.pop();
  assert.equal(pieces.map((piece) => piece.choices[0].delta.content ?? "").join(""), story);
  assert.deepEqual(last.usage, whole.usage);
  assert.deepEqual(last.choices, []);
});

async function collected(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

it("the helper that collects a stream understands it", async () => {
  const runner = client().chat.completions.stream({ messages, ...greedy, logprobs: true });
  let told = "";
  runner.on("content", (delta) => { told += delta; });
  const final = await runner.finalChatCompletion();
  assert.equal(told, story);
  assert.equal(final.choices[0].message.content, story);
  assert.equal(final.choices[0].logprobs.content.map((token) => token.token).join(""), story);
});

it("options do what they say", async () => {
  const ask = async (more) => {
    const answer = await client().chat.completions.create({ messages, ...greedy, ...more });
    return answer.choices.map((choice) => choice.message.content);
  };
  assert.deepEqual(await ask({ stop: "Drimina" }), [story.split("Drimina")[0]]);
  const sampled = { temperature: 1.5, seed: 7, n: 3 };
  assert.equal(new Set(await ask(sampled)).size, 3);
  assert.deepEqual(await ask(sampled), await ask(sampled));
});

it("completions go on from each prompt", async () => {
  const asked = { prompt: references.map((reference) => reference.prompt), ...greedy };
  const expected = references.map((reference) => reference.greedy_text);
  const whole = await client().completions.create(asked);
  assert.deepEqual(whole.choices.map((choice) => choice.text), expected);
  const texts = expected.map(() => "");
  for await (const piece of await client().completions.create({ ...asked, stream: true })) {
    texts[piece.choices[0].index] += piece.choices[0].text;
  }
  assert.deepEqual(texts, expected);
  const echoed = await client().completions.create({ prompt, ...greedy, echo: true, logprobs: 1 });
  assert.equal(echoed.choices[0].text, prompt + story);
  assert.equal(echoed.choices[0].logprobs.tokens.join(""), `<s>${prompt}${story}`);
});

it("vectors are the same in both forms, alone and together", async () => {
  const embed = async (input, more = {}) => {
    const answer = await client("vectors").embeddings.create({ model: "vectors", input, ...more });
    return answer.data.map((item) => Float32Array.from(item.embedding));
  };
  const floats = await embed(["a story", "a dragon"], { encoding_format: "float" });
  assert.equal(floats[0].length, 64);
  assert.notDeepEqual(floats[0], floats[1]);
  // What the client asks for by itself is base64, which it reads.
  assert.deepEqual(await embed(["a story", "a dragon"]), floats);
  assert.deepEqual(await embed("a dragon"), [floats[1]]);
});

it("the model is listed and found", async () => {
  const listed = await collected(client().models.list());
  assert.deepEqual(listed.map((model) => model.id), ["story"]);
  assert.deepEqual(await client().models.retrieve("story"), listed[0]);
});

it("each error is the one that the client has for it", async () => {
  const ask = (more, server, options) => () =>
    client(server, options).chat.completions.create({ messages, ...greedy, model: server ?? "story", ...more });
  const value = await refused(OpenAI.BadRequestError, ask({ temperature: 3 }));
  assert.deepEqual([value.status, value.param, value.code], [400, "temperature", "invalid_value"]);
  assert.match(value.message, /`temperature` is `3`, allowed is 0 to 2/);
  const tools = [{ type: "function", function: { name: "f" } }];
  assert.equal((await refused(OpenAI.BadRequestError, ask({ tools }))).param, "tools");
  const model = await refused(OpenAI.NotFoundError, ask({ model: "gpt-4" }));
  assert.match(model.message, /there is no model `gpt-4` here, but `story`/);
  const key = await refused(OpenAI.AuthenticationError, ask({}, "strict"));
  assert.equal(key.code, "invalid_api_key");
  const broken = await refused(OpenAI.InternalServerError, ask({}, "broken"));
  assert.match(broken.message, /has no config\.json/);
  const nowhere = { baseURL: "http://127.0.0.1:9/v1" };
  await refused(OpenAI.APIConnectionError, ask({}, "story", nowhere));
});

it("past the queue it is busy", async () => {
  const busy = client("busy");
  const running = await busy.completions.create({ ...endless, model: "busy", stream: true });
  const many = () => busy.completions.create({ model: "busy", prompt: "a", n: 5 });
  const error = await refused(OpenAI.RateLimitError, many);
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
  running.controller.abort();
});

it("whoever leaves ends the work", async () => {
  const stream = await client().completions.create({ ...endless, n: 4, stream: true });
  for await (const _ of stream) break;
  await becomesIdle();

  const leaving = new AbortController();
  const asked = client().completions.create({ ...endless, n: 100 }, { signal: leaving.signal });
  setTimeout(() => leaving.abort(), 100);
  await refused(OpenAI.APIUserAbortError, () => asked);
  await becomesIdle();

  const hasty = client("story", { timeout: 200 });
  await refused(OpenAI.APIConnectionTimeoutError, () => hasty.completions.create({ ...endless, n: 100 }));
  await becomesIdle();
});
