"use strict";
// The page asks what any client may ask: /status for how far the start is, and the API for answers. Whatever comes from
// there is set as text; only the drawing of the start, whose names the server has escaped, is taken as HTML.

const at = (id) => document.getElementById(id);
const make = (name, className, text = "") => {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
};

// --- The instance: how far its start is, asked until that is over. A page that nobody looks at asks for nothing.

const POLL_MS = 250;
const isOver = () => instance.state === "READY" || instance.state === "FAILED";
let instance = { state: "", serves: null };
const waiting = new Set();

/** Resolves when the instance is as `isSo` wants it. */
const until = (isSo, signal) => new Promise((resolve, reject) => {
  const look = () => {
    if (!isSo() && !signal.aborted) return;
    waiting.delete(look);
    if (signal.aborted) reject(signal.reason);
    else resolve();
  };
  waiting.add(look);
  signal.addEventListener("abort", look);
  look();
});

/** What is there now. A balancer's page in place of an answer is none. */
const get = async (path) => {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(response.statusText);
  return response;
};

const watch = async () => {
  const began = performance.now();
  try {
    instance = await (await get("status")).json();
    show();
    await draw();
    if (isOver()) return;
  } catch {
    at("state").textContent = "UNREACHABLE";
    at("progress").textContent = "";
  }
  // What a large start takes to draw should not keep the server from it.
  const pause = Math.max(POLL_MS, 4 * (performance.now() - began));
  setTimeout(() => {
    if (!document.hidden) watch();
    else document.addEventListener("visibilitychange", watch, { once: true });
  }, pause);
};

const show = () => {
  const { state, bytes, model, serves } = instance;
  const share = bytes.weights > 0 ? Math.min(1, bytes.fetched / bytes.weights) : 0;
  const loaded = state === "READY" ? 1 : share;
  const said = at("state");
  if (said.textContent !== state) said.textContent = state;
  said.parentElement.className = `state ${state.toLowerCase()}`;
  // What is mapped from a file is not fetched.
  const percent = state === "LOADING" && share >= 0.01 ? `${Math.floor(share * 100)} % of ` : "";
  at("progress").textContent = bytes.weights > 0 ? percent + inBytes(bytes.weights) : "";
  at("loaded").value = loaded;
  at("model").textContent = model;
  document.title = `${model} · firstlight`;
  at("key-field").hidden = !instance.needs_key;
  at("hint").textContent = HINTS[state] ?? "";
  if (state === "FAILED") fail();
  if (serves) suit(serves);
  for (const look of waiting) look();
};

const HINTS = {
  STARTING: "It is still starting. What you send now rides the load.",
  LOADING: "It is still loading. What you send now rides the load.",
  READY: "It is loaded.",
};

/** The controls for what the model makes. */
const suit = (serves) => {
  if (document.body.dataset.serves === serves) return;
  document.body.dataset.serves = serves;
  const embeds = serves === "embeddings";
  at("ask").hidden = embeds;
  at("compare").hidden = !embeds;
  at("system-field").hidden = serves !== "chat";
  for (const id of ["max_tokens", "temperature", "top_p"]) at(id).parentElement.hidden = embeds;
  document.querySelector(".settings").hidden = embeds && !instance.needs_key;
  if (embeds) {
    at("empty").firstChild.textContent = "How alike are two texts?";
    if (!at("texts").firstChild) EXAMPLES.forEach(addText);
  } else if (serves === "completions") {
    at("empty").firstChild.textContent = "Begin a text. The model goes on.";
    at("prompt").placeholder = "The beginning of a text";
  }
};

/** The start cannot succeed any more: its reason, once. */
const fail = () => {
  if (at("failure")) return;
  const turn = make("article", "turn");
  turn.id = "failure";
  turn.append(make("p", "error", instance.error));
  put(turn);
};

let drawn = "";
const draw = async () => {
  const part = await (await get("page/timeline")).text();
  if (part === drawn) return;
  drawn = part;
  const place = at("timeline");
  const opened = [...place.querySelectorAll("details")].map((details) => details.open);
  place.innerHTML = part;
  place.querySelectorAll("details").forEach((details, n) => { details.open = opened[n] ?? false; });
  place.querySelectorAll(".chart").forEach(enliven);
};

// --- Requests

/** What the server says went wrong, as it says it. */
class Refusal extends Error {
  constructor(status, { message, type, code, param }) {
    super(message);
    this.status = status;
    this.facts = [status, type, code, param].filter((fact) => fact);
  }

  static async of(response) {
    const text = await response.text();
    try {
      return new Refusal(response.status, JSON.parse(text).error);
    } catch {
      return new Refusal(response.status, { message: text.slice(0, 500) || response.statusText });
    }
  }
}

const post = async (path, body, signal) => {
  const headers = { "content-type": "application/json" };
  if (at("key").value) headers.authorization = `Bearer ${at("key").value}`;
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw await Refusal.of(response);
  return response;
};

/** The data of each server-sent event. */
const events = async function* (body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
};

/** Streams an answer: `take` gets each choice as it comes. Resolves to what the answer took. */
const stream = async (path, body, signal, take) => {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await post(path, asked, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refusal("", event.error);
    take(event, response);
  }
  throw new Error("The answer was broken off.");
};

// --- The conversation: one request at a time, until it is over or stopped

let running = null;
let conversation = [];

const busy = (controller) => {
  running = controller;
  at("log").setAttribute("aria-busy", String(controller !== null));
  at("send").hidden = controller !== null;
  at("stop").hidden = controller === null;
  at("measure").textContent = controller ? "Stop" : "Compare";
};

/** Adds to the log, whose end stays in sight if it was. */
const put = (...turns) => {
  at("empty").hidden = true;
  at("log").append(...turns);
  at("log").scrollTop = at("log").scrollHeight;
};

const follow = (change) => {
  const log = at("log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  change();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
};

/** An answer on its way: where it is shown, and what it takes. */
class Turn {
  constructor(who) {
    this.place = make("article", "turn model");
    this.wait = make("p", "wait");
    this.text = make("p", "text");
    this.given = make("span", "given");
    this.made = document.createTextNode("");
    this.cost = make("p", "cost");
    this.text.append(this.given, this.made);
    this.place.append(make("h3", "", who), this.text, this.wait, this.cost);
    this.sent = performance.now();
    this.pieces = 0;
    this.tell = () => {
      const share = at("progress").textContent;
      this.wait.textContent = isOver() ? "waiting" : `riding the load · ${instance.state} ${share}`;
      return false;
    };
  }

  piece(text) {
    this.wait.remove();
    this.last = performance.now();
    this.first ??= this.last;
    this.pieces += 1;
    follow(() => {
      this.made.appendData(text);
      this.bill();
    });
  }

  /** What it took: with the server's count of tokens, once it has told. */
  bill(finish) {
    const { prompt_tokens: prompt, completion_tokens: counted } = this.usage ?? {};
    const tokens = counted ?? this.pieces;
    const rate = (tokens - 1) / (this.last - this.first) * 1e3;
    this.cost.replaceChildren();
    const fact = (figure, after, before = "") => {
      const said = make("span", "", before);
      said.append(make("b", "", figure), ` ${after}`);
      this.cost.append(said);
    };
    const what = this.rode ? "to the first token, with the load" : "to the first token";
    if (this.first) fact(inTime(this.first - this.sent), what);
    if (Number.isFinite(rate) && tokens > 1) fact(rate.toFixed(1), "tokens/s");
    if (prompt) fact(prompt, "tokens of prompt");
    if (this.pieces) fact(tokens, counted ? "tokens of answer" : "tokens so far");
    if (finish) fact(finish, "", "ended by ");
  }

  fail(error) {
    const place = make("p", "error", error.message);
    if (error.facts) place.append(make("small", "", error.facts.join(" · ")));
    follow(() => this.cost.before(place));
    if (error.status === 401) {
      document.querySelector(".settings").open = true;
      at("key").focus();
    }
  }
}

/** Does `work` for a turn, unless something else is running; whether it came to its end. */
const run = async (turn, work) => {
  const controller = new AbortController();
  const { signal } = controller;
  busy(controller);
  waiting.add(turn.tell);
  turn.tell();
  try {
    // Which interface to ask is known once the model's files are read, long before its weights are.
    await until(() => instance.serves || instance.state === "FAILED", signal);
    await work(signal);
    return true;
  } catch (error) {
    if (signal.aborted) turn.bill("Stop");
    else turn.fail(error);
    return false;
  } finally {
    waiting.delete(turn.tell);
    turn.wait.remove();
    busy(null);
    // The first token is a part of the start.
    if (turn.rode) draw().catch(() => {});
  }
};

const settings = () => {
  const set = { model: instance.model };
  for (const id of ["max_tokens", "temperature", "top_p"]) {
    if (at(id).value !== "") set[id] = Number(at(id).value);
  }
  return set;
};

const ask = async (prompt) => {
  const question = { role: "user", content: prompt };
  const messages = conversation;
  const own = make("article", "turn user");
  own.append(make("h3", "", "you"), make("p", "text", prompt));
  const turn = new Turn(instance.model || "model");
  put(own, turn.place);
  let finish = "";
  const take = ({ choices: [choice], usage }, response) => {
    turn.rode = response.headers.has("server-timing");
    if (usage) turn.usage = usage;
    const text = choice?.delta?.content ?? choice?.text;
    if (text) turn.piece(text);
    finish = choice?.finish_reason ?? finish;
  };
  const isDone = await run(turn, async (signal) => {
    if (instance.serves === "completions") {
      // A text and how it goes on are one.
      own.remove();
      turn.given.textContent = prompt;
      await stream("v1/completions", { ...settings(), prompt }, signal, take);
    } else {
      const system = at("system").value.trim();
      const first = system ? [{ role: "system", content: system }] : [];
      const body = { ...settings(), messages: [...first, ...messages, question] };
      await stream("v1/chat/completions", body, signal, take);
    }
    turn.bill(finish);
  });
  // A question without an answer is no part of what is said next; it can be sent again.
  if (turn.pieces > 0) messages.push(question, { role: "assistant", content: turn.made.data });
  else if (!isDone && at("prompt").value === "") at("prompt").value = prompt;
};

const clear = () => {
  running?.abort();
  conversation = [];
  wipe();
  at("empty").hidden = false;
  at("prompt").focus();
};

const wipe = () => at("log").querySelectorAll(".turn").forEach((turn) => turn.remove());

// --- Texts, and how alike they are

const addText = (text = "") => {
  const item = make("li", "");
  const input = make("input", "");
  input.value = text;
  input.setAttribute("aria-label", `Text ${at("texts").children.length + 1}`);
  const remove = make("button", "", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", "Remove this text");
  remove.addEventListener("click", () => {
    if (at("texts").children.length > 2) item.remove();
    else input.value = "";
  });
  item.append(input, remove);
  at("texts").append(item);
  return input;
};

const EXAMPLES = [
  "The sun rises over the harbour.",
  "Morning light falls on the port.",
  "The invoice is due on Friday.",
];

const cosine = (a, b) => {
  const dot = (a, b) => a.reduce((sum, x, n) => sum + x * b[n], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

/** A table of each text with each. */
const matrix = (texts, vectors) => {
  const table = make("table", "matrix");
  const head = table.createTHead().insertRow();
  head.append(make("td", ""), ...texts.map((_, n) => heading("col", n + 1)));
  const rows = table.createTBody();
  texts.forEach((text, i) => {
    const row = rows.insertRow();
    row.append(heading("row", `${i + 1}  ${text}`));
    vectors.forEach((vector) => {
      const alike = cosine(vectors[i], vector);
      const cell = make("span", "", alike.toFixed(3));
      cell.style.setProperty("--share", Math.max(0, alike));
      row.insertCell().append(cell);
    });
  });
  return table;
};

const heading = (scope, text) => {
  const made = make("th", "", text);
  made.scope = scope;
  return made;
};

const compare = async () => {
  const texts = [...at("texts").querySelectorAll("input")].map((input) => input.value);
  const turn = new Turn("cosine similarity");
  wipe();
  put(turn.place);
  await run(turn, async (signal) => {
    const response = await post("v1/embeddings", { model: instance.model, input: texts }, signal);
    const { data, usage } = await response.json();
    const vectors = data.map(({ embedding }) => embedding);
    const took = inTime(performance.now() - turn.sent);
    follow(() => {
      turn.text.replaceWith(matrix(texts, vectors));
      turn.cost.textContent =
        `${took} · ${usage.prompt_tokens} tokens · ${vectors[0].length} dimensions`;
    });
  });
};

// --- Figures for people, as the timeline writes them

const threeDigits = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
const inTime = (ms) => ms < 999.5 ? `${threeDigits(ms)} ms` : `${threeDigits(ms / 1e3)} s`;
const inBytes = (bytes) => {
  let power = 0;
  for (; bytes >= 999.5 && power < 5; power += 1) bytes /= 1e3;
  return `${power ? threeDigits(bytes) : bytes} ${["B", "kB", "MB", "GB", "TB", "PB"][power]}`;
};

// --- Buttons and keys

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = at("prompt").value;
  at("prompt").focus();
  if (running || prompt.trim() === "") return;
  // A text may be gone on with more than once.
  if (instance.serves !== "completions") at("prompt").value = "";
  ask(prompt);
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
at("compare").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else compare();
});
at("stop").addEventListener("click", () => {
  running?.abort();
  at("prompt").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
at("add").addEventListener("click", () => addText().focus());
at("clear").addEventListener("click", clear);
document.querySelector(".settings").open = matchMedia("(min-width: 821px)").matches;

watch();
