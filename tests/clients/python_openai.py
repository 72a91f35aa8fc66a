"""The official client for Python: each of its calls that is served, and each of its errors."""

import asyncio
import base64
import json
import os
import struct
import time
import unittest
import urllib.request

import openai
from openai import AsyncOpenAI, OpenAI

from servers import API_KEY, FIXTURES

SERVERS = json.loads(os.environ["SERVERS"])
REFERENCES = json.loads((FIXTURES / "demo-model" / "ref.json").read_text())["references"]

# Of the first reference: a prompt, and what greedy choice makes of it.
PROMPT, STORY = REFERENCES[0]["prompt"], REFERENCES[0]["greedy_text"]
GREEDY = {"model": "story", "temperature": 0, "max_tokens": 48}
USER = [{"role": "user", "content": PROMPT}]

# As long as the context: the token that ends a text is ruled out.
ENDLESS = {"model": "story", "prompt": "Once", "max_tokens": 500, "logit_bias": {"1": -100}}


def client(server="story", kind=OpenAI, **options):
    options = {"api_key": "none", "max_retries": 0, **options}
    return kind(base_url=SERVERS[server] + "/v1", **options)


def status(server="story"):
    with urllib.request.urlopen(SERVERS[server] + "/status") as answer:
        return json.load(answer)


class Case(unittest.TestCase):
    def becomes_idle(self, server="story"):
        deadline = time.monotonic() + 30
        while (now := status(server))["requests_in_flight"] or now["engine"]["kv_blocks_used"]:
            self.assertLess(time.monotonic(), deadline, "what nobody waits for goes on")
            time.sleep(0.01)

    def refused(self, kind, message, call):
        with self.assertRaises(kind) as caught:
            call()
        self.assertIs(type(caught.exception), kind)
        self.assertIn(message, str(caught.exception))
        return caught.exception


class Chat(Case):
    def test_a_greedy_answer_is_the_reference(self):
        answer = client().chat.completions.create(messages=USER, **GREEDY)
        choice = answer.choices[0]
        self.assertEqual((choice.message.role, choice.message.content), ("assistant", STORY))
        self.assertEqual((answer.object, answer.model, choice.finish_reason), ("chat.completion", "story", "length"))
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.completion_tokens), (5, 48))
        self.assertLess(abs(answer.created - time.time()), 60)
        self.assertRegex(answer._request_id, "^[0-9a-f]{32}$")

    def test_streamed_it_is_the_same_and_usage_comes_last(self):
        stream = client().chat.completions.create(
            messages=USER, stream=True, stream_options={"include_usage": True}, **GREEDY)
        *pieces, last = stream
        self.assertEqual("".join(piece.choices[0].delta.content or "" for piece in pieces), STORY)
        self.assertEqual([piece.usage for piece in pieces], [None] * len(pieces))
        self.assertEqual((last.choices, last.usage.total_tokens), ([], 53))
        self.assertEqual(pieces[0].choices[0].delta.role, "assistant")
        self.assertEqual(pieces[-1].choices[0].finish_reason, "length")
        self.assertEqual(len({piece.id for piece in pieces}), 1)

    def test_the_helper_that_collects_a_stream_understands_it(self):
        with client().chat.completions.stream(messages=USER, stop="Drimina", **GREEDY) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        self.assertLessEqual({"chunk", "content.delta", "content.done"}, kinds)
        self.assertEqual(final.choices[0].message.content, STORY[: STORY.index("Drimina")])

    def test_messages_of_all_roles_and_parts_are_read(self):
        first, second = PROMPT[:4], PROMPT[4:]
        for system in ("system", "developer"):
            messages = [{"role": system, "content": first}, {"role": "assistant", "content": ""},
                        {"role": "user", "content": [{"type": "text", "text": second}]}]
            answer = client().chat.completions.create(messages=messages, **GREEDY)
            self.assertEqual(answer.choices[0].message.content, STORY)

    def test_probabilities_come_with_the_tokens(self):
        answer = client().chat.completions.create(messages=USER, logprobs=True, top_logprobs=3, **GREEDY)
        tokens = answer.choices[0].logprobs.content
        self.assertEqual("".join(token.token for token in tokens), STORY)
        for token in tokens:
            self.assertEqual((token.top_logprobs[0].token, len(token.top_logprobs)), (token.token, 3))
            self.assertEqual(bytes(token.bytes).decode(), token.token)
            self.assertLessEqual(token.logprob, 0)

    def test_several_answers_differ_and_a_seed_makes_them_again(self):
        def ask():
            sampled = {**GREEDY, "temperature": 1.5, "seed": 7, "n": 3}
            answer = client().chat.completions.create(messages=USER, **sampled)
            return [choice.message.content for choice in answer.choices]
        self.assertEqual(len(set(ask())), 3)
        self.assertEqual(ask(), ask())

    def test_an_answer_ends_before_a_stop_and_after_so_many_tokens(self):
        answer = client().chat.completions.create(messages=USER, stop=["Drimina"], **GREEDY)
        self.assertEqual(answer.choices[0].message.content, STORY[: STORY.index("Drimina")])
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        short = client().chat.completions.create(messages=USER, max_completion_tokens=3, model="story")
        self.assertEqual((short.usage.completion_tokens, short.choices[0].finish_reason), (3, "length"))

    def test_a_token_that_is_ruled_out_does_not_come(self):
        comma = {str(REFERENCES[0]["greedy_ids"][0]): -100}
        answer = client().chat.completions.create(messages=USER, logit_bias=comma, **GREEDY)
        self.assertNotIn(",", answer.choices[0].message.content)

    def test_what_is_not_served_is_refused_by_name(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
        for more, param in [({"tools": [tool]}, "tools"), ({"response_format": form}, "response_format"),
                            ({"messages": image}, "messages[0].content[0]"),
                            ({"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}, "modalities")]:
            asked = {"messages": USER, **GREEDY, **more}
            error = self.refused(openai.BadRequestError, "", lambda asked=asked: client().chat.completions.create(**asked))
            self.assertEqual((error.code, error.type), ("unsupported_parameter", "invalid_request_error"))
            self.assertEqual(error.param, param)


class Completions(Case):
    def test_each_reference_is_continued_alone_and_together(self):
        prompts = [reference["prompt"] for reference in REFERENCES]
        stories = [reference["greedy_text"] for reference in REFERENCES]
        together = client().completions.create(prompt=prompts, **GREEDY)
        self.assertEqual([choice.text for choice in together.choices], stories)
        alone = [client().completions.create(prompt=prompt, **GREEDY) for prompt in prompts]
        self.assertEqual([answer.choices[0].text for answer in alone], stories)

    def test_a_prompt_may_be_tokens_and_be_repeated_with_probabilities(self):
        ids = REFERENCES[0]["ids"]
        answer = client().completions.create(prompt=ids, echo=True, logprobs=2, **GREEDY)
        choice = answer.choices[0]
        self.assertEqual(choice.text, PROMPT + STORY)
        self.assertIsNone(choice.logprobs.token_logprobs[0])
        self.assertEqual(len(choice.logprobs.tokens), answer.usage.total_tokens)
        shown = "".join(choice.logprobs.tokens)
        self.assertEqual(shown, "<s>" + PROMPT + STORY)
        self.assertEqual(choice.logprobs.text_offset[len(ids)], len(PROMPT))

    def test_streams_of_several_prompts_are_told_apart(self):
        prompts = [reference["prompt"] for reference in REFERENCES[:2]]
        texts = ["", ""]
        for piece in client().completions.create(prompt=prompts, stream=True, **GREEDY):
            texts[piece.choices[0].index] += piece.choices[0].text
        self.assertEqual(texts, [reference["greedy_text"] for reference in REFERENCES[:2]])


class Embeddings(Case):
    def embed(self, text, **options):
        return client("vectors").embeddings.create(model="vectors", input=text, **options)

    def test_vectors_are_the_same_in_both_forms(self):
        # What the client asks for by itself is base64, which it reads.
        vector = self.embed("hello world").data[0].embedding
        self.assertEqual((len(vector), any(vector)), (64, True))
        bits = struct.pack("<64f", *vector)
        written = self.embed("hello world", encoding_format="base64").data[0].embedding
        self.assertEqual(base64.b64decode(written), bits)
        floats = self.embed("hello world", encoding_format="float").data[0].embedding
        self.assertEqual(struct.pack("<64f", *floats), bits)

    def test_many_texts_are_embedded_as_each_alone(self):
        texts = ["a", "a story", "a story of a dragon that loved tea"]
        together = self.embed(texts)
        self.assertEqual([item.index for item in together.data], [0, 1, 2])
        alone = [self.embed(text) for text in texts]
        self.assertEqual([item.embedding for item in together.data], [one.data[0].embedding for one in alone])
        self.assertEqual(together.usage.prompt_tokens, sum(one.usage.prompt_tokens for one in alone))

    def test_a_text_may_be_tokens_and_a_vector_shorter(self):
        self.assertEqual(self.embed([2, 4, 3]).data[0].embedding, self.embed("a").data[0].embedding)
        short = self.embed("a story", dimensions=8).data[0].embedding
        self.assertAlmostEqual(sum(x * x for x in short), 1, places=5)
        self.assertEqual(len(short), 8)

    def test_what_cannot_be_embedded_is_refused(self):
        error = self.refused(openai.BadRequestError, "129", lambda: self.embed([4] * 129))
        self.assertEqual((error.param, error.code), ("input", "context_length_exceeded"))
        error = self.refused(openai.BadRequestError, "1 to 64", lambda: self.embed("a", dimensions=65))
        self.assertEqual(error.param, "dimensions")
        self.refused(openai.BadRequestError, "it makes text", lambda: client().embeddings.create(
            model="story", input="a"))


class Models(Case):
    def test_the_model_is_listed_and_found(self):
        listed = list(client().models.list())
        self.assertEqual([model.id for model in listed], ["story"])
        self.assertEqual(client().models.retrieve("story"), listed[0])

    def test_another_is_not_found(self):
        self.refused(openai.NotFoundError, "there is no model `gpt-4` here, but `story`",
                     lambda: client().models.retrieve("gpt-4"))
        error = self.refused(openai.NotFoundError, "`gpt-4`", lambda: client().completions.create(
            model="gpt-4", prompt="a"))
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))


class Errors(Case):
    def test_a_wrong_value_is_named(self):
        error = self.refused(openai.BadRequestError, "`temperature` is `3`, allowed is 0 to 2",
                             lambda: client().chat.completions.create(messages=USER, model="story", temperature=3))
        self.assertEqual((error.status_code, error.param, error.code), (400, "temperature", "invalid_value"))
        self.assertRegex(error.request_id, "^[0-9a-f]{32}$")

    def test_a_prompt_beyond_the_context_is_refused(self):
        error = self.refused(openai.BadRequestError, "512", lambda: client().completions.create(
            model="story", prompt=[5] * 600))
        self.assertEqual(error.code, "context_length_exceeded")

    def test_a_key_is_asked_for(self):
        for key in ("sk-another", API_KEY + "x"):
            self.refused(openai.AuthenticationError, "not one of those that are known",
                         lambda key=key: client("strict", api_key=key).models.list())
        answer = client("strict", api_key=API_KEY).completions.create(**{**GREEDY, "model": "strict"}, prompt=PROMPT)
        self.assertEqual(answer.choices[0].text, STORY)

    def test_limits_are_told(self):
        strict = client("strict", api_key=API_KEY)
        ask = lambda **more: strict.completions.create(model="strict", **more)
        self.refused(openai.APIStatusError, "longer than 4000 bytes", lambda: ask(prompt="a" * 5000))
        error = self.refused(openai.BadRequestError, "1 to 64", lambda: ask(prompt="a", max_tokens=65))
        self.assertEqual(error.param, "max_tokens")

    def test_routes_that_are_not_there_are_told(self):
        self.refused(openai.NotFoundError, "nothing at `POST /v1/responses`",
                     lambda: client().responses.create(model="story", input="a"))
        self.refused(openai.NotFoundError, "/v1/images/generations",
                     lambda: client().images.generate(prompt="a"))

    def test_a_model_that_could_not_be_loaded_says_why(self):
        error = self.refused(openai.InternalServerError, "has no config.json", lambda: client("broken").completions.create(
            model="broken", prompt="a"))
        self.assertEqual((error.status_code, error.code), (503, "load_failed"))

    def test_where_nobody_listens_there_is_no_connection(self):
        nobody = OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0)
        self.refused(openai.APIConnectionError, "Connection error", nobody.models.list)

    def test_past_the_queue_it_is_busy_and_a_patient_client_comes_through(self):
        endless = {**ENDLESS, "model": "busy"}
        running = client("busy").completions.create(stream=True, **endless)
        next(running)
        many = lambda: client("busy").completions.create(model="busy", prompt="a", n=5)
        error = self.refused(openai.RateLimitError, "requests are waiting", many)
        self.assertGreaterEqual(int(error.response.headers["retry-after"]), 1)
        running.close()
        self.becomes_idle("busy")
        patient = client("busy", max_retries=5)
        answer = patient.completions.create(**{**GREEDY, "model": "busy"}, prompt=PROMPT)
        self.assertEqual(answer.choices[0].text, STORY)


class GoingAway(Case):
    def test_a_stream_that_is_left_ends_its_work(self):
        with client().completions.create(stream=True, n=4, **ENDLESS) as stream:
            next(stream)
        self.becomes_idle()

    def test_a_client_that_loses_patience_ends_its_work(self):
        hasty = client(timeout=0.2)
        self.refused(openai.APITimeoutError, "timed out", lambda: hasty.completions.create(n=100, **ENDLESS))
        self.becomes_idle()

    def test_a_task_that_is_cancelled_ends_its_work(self):
        async def ask():
            async with client(kind=AsyncOpenAI) as asking:
                task = asyncio.create_task(asking.completions.create(n=100, **ENDLESS))
                while not status()["requests_in_flight"]:
                    await asyncio.sleep(0.01)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
        asyncio.run(ask())
        self.becomes_idle()


class Async(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        # It writes a line for each step of the loop that takes more than 100 ms, as the first import does.
        asyncio.get_event_loop().set_debug(False)

    async def test_many_at_once_get_what_each_gets_alone(self):
        async with client(kind=AsyncOpenAI) as asking:
            async def story(reference):
                stream = await asking.completions.create(prompt=reference["prompt"], stream=True, **GREEDY)
                return "".join([piece.choices[0].text async for piece in stream])
            asked = REFERENCES * 4
            told = await asyncio.gather(*map(story, asked))
            self.assertEqual(told, [reference["greedy_text"] for reference in asked])

    async def test_an_error_is_the_same(self):
        async with client(kind=AsyncOpenAI) as asking:
            with self.assertRaisesRegex(openai.BadRequestError, "`top_p` is `2`"):
                await asking.completions.create(model="story", prompt="a", top_p=2)


if __name__ == "__main__":
    unittest.main()
