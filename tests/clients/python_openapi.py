"""The document at /openapi.json: schemathesis makes requests of it, right ones and wrong ones; answers are as it says."""

import json
import os
import subprocess
import unittest
import urllib.request

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator

from servers import API_KEY

SERVERS = json.loads(os.environ["SERVERS"])
# Other schemas have what these have, and more.
PARTS = ("Letterhead", "Token")


def get(server, path):
    with urllib.request.urlopen(SERVERS[server] + path) as answer:
        return json.load(answer)


def post(server, path, body):
    request = urllib.request.Request(SERVERS[server] + path, json.dumps({"model": server, **body}).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def closed(schema):
    """The same, but that nothing may be there that is not named."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        inner["unevaluatedProperties"] = False
    return inner


class Document(unittest.TestCase):
    def test_it_is_openapi(self):
        for server in ("small", "vectors", "strict", "broken"):
            OpenAPIV31SpecValidator(get(server, "/openapi.json")).validate()


class Answers(unittest.TestCase):
    """They have every field that it names, and no other."""

    @classmethod
    def setUpClass(cls):
        cls.document = get("small", "/openapi.json")
        schemas = cls.document["components"]["schemas"]
        for name in schemas.keys() - set(PARTS):
            schemas[name] = closed(schemas[name])
        # Each server has its own name for its model.
        schemas["ModelName"] = {"enum": list(SERVERS)}

    def is_a(self, name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": self.document["components"]}
        jsonschema_rs.validate(schema, value)

    def all_are(self, name, path, body):
        self.is_a(name, json.loads(post("small", path, body)))
        piece = name if name == "Completion" else name + "Chunk"
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        *events, done = post("small", path, streamed).rstrip().split("\n\n")
        self.assertEqual(done, "data: [DONE]")
        for event in events:
            self.is_a(piece, json.loads(event.removeprefix("data: ")))

    def test_those_of_conversations(self):
        body = {"messages": [{"role": "user", "content": "Once"}]}
        for more in ({}, {"n": 2, "logprobs": True, "top_logprobs": 2}, {"stop": "a"}):
            self.all_are("ChatCompletion", "/v1/chat/completions", {**body, **more})

    def test_those_of_completions(self):
        for more in ({}, {"n": 2, "logprobs": 2, "echo": True}, {"prompt": ["a", "b"]}):
            self.all_are("Completion", "/v1/completions", {"prompt": "Once", **more})

    def test_those_of_embeddings(self):
        for form in ("float", "base64"):
            body = {"input": ["a", "b"], "encoding_format": form}
            self.is_a("EmbeddingList", json.loads(post("vectors", "/v1/embeddings", body)))

    def test_those_about_the_instance(self):
        for server in ("small", "vectors"):
            self.is_a("ModelList", get(server, "/v1/models"))
            self.is_a("Model", get(server, f"/v1/models/{server}"))
            self.is_a("Status", get(server, "/status"))
            self.is_a("Live", get(server, "/health/live"))
            self.is_a("Ready", get(server, "/health/ready"))

    def test_what_is_not_named_would_be_noticed(self):
        with self.assertRaises(jsonschema_rs.ValidationError):
            self.is_a("Live", {"live": True, "more": 1})
        with self.assertRaises(jsonschema_rs.ValidationError):
            self.is_a("Model", {**get("small", "/v1/models/small"), "more": 1})


class Schemathesis(unittest.TestCase):
    """Every check that it has, on requests that are the same each time."""

    def run_on(self, server, *more):
        command = ["st", "run", SERVERS[server] + "/openapi.json", "--generation-deterministic", "--max-examples=100",
                   "--suppress-health-check=all", "--continue-on-failure", "--no-color", *more]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks"}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        print(*[line.strip() for line in ran.stdout.splitlines() if "generated" in line], end=" ... ", flush=True)

    def test_a_model_that_makes_text(self):
        self.run_on("small", "--exclude-path=/v1/embeddings")

    def test_a_model_that_makes_vectors(self):
        self.run_on("vectors", "--include-path=/v1/embeddings")

    def test_a_model_with_a_key(self):
        self.run_on("strict", "--include-path-regex=^/v1/models", f"--header=Authorization: Bearer {API_KEY}")


if __name__ == "__main__":
    unittest.main()
