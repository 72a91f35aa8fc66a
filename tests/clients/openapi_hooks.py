"""What JSON Schema cannot say of requests: schemathesis' right ones are made right here, and its wrong ones left alone."""

import schemathesis

# Tokens that both models know, and prompts that both take.
KNOWN_IDS = 512
MOST_PROMPTS = 4


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict) and case.meta.generation.mode.is_positive:
        case.body = right(case.body)


def right(body):
    return right_input(dict(body)) if "input" in body else right_options(dict(body))


def right_input(body):
    if isinstance(body["input"], list):
        body["input"] = known(body["input"][:MOST_PROMPTS])
    # So many the vectors have.
    if body.get("dimensions"):
        body["dimensions"] = min(body["dimensions"], 64)
    return body


def right_options(body):
    if not body.get("stream"):
        body.pop("stream_options", None)
    if "messages" in body and not body.get("logprobs"):
        body.pop("top_logprobs", None)
    # Answers to all prompts together are bounded, and as many are made as are told.
    body["n"] = min(body.get("n") or 1, 2)
    if body.get("best_of"):
        body["best_of"] = body["n"]
    if body.get("logit_bias"):
        body["logit_bias"] = {str(int(id) % KNOWN_IDS): bias for id, bias in body["logit_bias"].items()}
    if isinstance(body.get("prompt"), list):
        body["prompt"] = known(body["prompt"][:MOST_PROMPTS])
    # An answer without tokens is its prompt.
    if body.get("max_tokens") == 0:
        body["echo"] = True
    # No answer is to be longer than it may be.
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    body["min_tokens"] = min(body.get("min_tokens") or 0, most)
    # Its bound is of bytes.
    if isinstance(body.get("stop"), str):
        body["stop"] = body["stop"][:64]
    if isinstance(body.get("stop"), list):
        body["stop"] = [text[:64] for text in body["stop"]]
    return body


def known(item):
    if isinstance(item, list):
        return [known(inner) for inner in item]
    return item if isinstance(item, str) else int(item) % KNOWN_IDS
