"""LangChain over the official client: what it makes of answers, streams, errors and vectors."""

import asyncio
import json
import os
import unittest

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from servers import FIXTURES

SERVERS = json.loads(os.environ["SERVERS"])
REFERENCE = json.loads((FIXTURES / "demo-model" / "ref.json").read_text())["references"][0]
PROMPT, STORY = REFERENCE["prompt"], REFERENCE["greedy_text"]


def place(server):
    return {"model": server, "base_url": SERVERS[server] + "/v1", "api_key": "none", "max_retries": 0}


def chat(**options):
    return ChatOpenAI(**place("story"), **{"temperature": 0, "max_tokens": 48, **options})


class Chat(unittest.TestCase):
    def test_invoke_is_the_reference_with_its_metadata(self):
        answer = chat().invoke([SystemMessage(PROMPT[:4]), HumanMessage(PROMPT[4:])])
        self.assertIsInstance(answer, AIMessage)
        self.assertEqual(answer.content, STORY)
        self.assertEqual(answer.usage_metadata["total_tokens"], 53)
        self.assertEqual(answer.response_metadata["finish_reason"], "length")

    def test_a_stream_is_the_same_and_tells_its_usage(self):
        pieces = list(chat(stream_usage=True).stream(PROMPT))
        self.assertEqual("".join(piece.content for piece in pieces), STORY)
        whole = sum(pieces[1:], pieces[0])
        self.assertEqual(whole.usage_metadata["total_tokens"], 53)

    def test_a_batch_is_each_alone(self):
        self.assertEqual([answer.content for answer in chat().batch([PROMPT] * 4)], [STORY] * 4)

    def test_a_chain_runs(self):
        chain = ChatPromptTemplate.from_messages([("user", "{beginning}")]) | chat() | StrOutputParser()
        self.assertEqual(chain.invoke({"beginning": PROMPT}), STORY)

    def test_options_are_passed_on(self):
        answer = chat(stop=["Drimina"], logprobs=True, top_logprobs=2, seed=1).invoke(PROMPT)
        self.assertEqual(answer.content, STORY[: STORY.index("Drimina")])
        self.assertEqual(len(answer.response_metadata["logprobs"]["content"][0]["top_logprobs"]), 2)

    def test_tools_are_refused_by_name(self):
        def weather(town: str) -> str:
            """The weather in a town."""
        with self.assertRaisesRegex(openai.BadRequestError, "`tools`: tools are not served yet"):
            chat().bind_tools([weather]).invoke(PROMPT)


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        # It writes a line for each step of the loop that takes more than 100 ms, as the first import does.
        asyncio.get_event_loop().set_debug(False)

    async def test_a_stream_is_the_same(self):
        pieces = [piece.content async for piece in chat().astream(PROMPT)]
        self.assertEqual("".join(pieces), STORY)


class Rest(unittest.TestCase):
    def test_completions_are_the_reference(self):
        self.assertEqual(OpenAI(**place("story"), temperature=0, max_tokens=48).invoke(PROMPT), STORY)

    def test_vectors_of_documents_are_those_of_questions(self):
        # Otherwise it sends the tokens of OpenAI's own tokenizer.
        embeddings = OpenAIEmbeddings(**place("vectors"), check_embedding_ctx_length=False)
        texts = ["a story", "a dragon that loved tea"]
        documents = embeddings.embed_documents(texts)
        self.assertEqual([len(vector) for vector in documents], [64, 64])
        self.assertNotEqual(*documents)
        self.assertEqual([embeddings.embed_query(text) for text in texts], documents)


if __name__ == "__main__":
    unittest.main()
