"""The servers that the clients talk to: the real binary with small models, each with other settings."""

import json
import re
import shutil
import signal
import string
import subprocess
import tempfile
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"

# A conversation is the text of its messages, so that what the model's reference says of a prompt holds for it.
CHAT_TEMPLATE = "<s>{% for message in messages %}{{ message.content }}{% endfor %}"

# What `strict` asks for. It guards nothing.
API_KEY = "sk-of-the-tests"


def story(folder):
    """The demo model, which tells stories, with a chat template."""
    shutil.copytree(FIXTURES / "demo-model", folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


def vectors(folder):
    """An encoder with random weights, and a tokenizer that knows letters."""
    shutil.copytree(FIXTURES / "tiny-random-bert", folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [form for letter in string.ascii_lowercase for form in (letter, "##" + letter)]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": n, "content": token, "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
            for n, token in enumerate(special)
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "truncation": None,
        "padding": None,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {token: n for n, token in enumerate(special + letters)}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def nothing(folder):
    """A model that cannot be loaded."""
    folder.mkdir()
    return folder


# By name: what makes the model, the arguments, and the environment.
SETTINGS = {
    "story": (story, [], {}),
    "vectors": (vectors, [], {}),
    "strict": (story, ["--body-limit=4kB", "--max-answer-tokens=64"], {"FIRSTLIGHT_API_KEY": API_KEY}),
    # Answers so short that thousands are made in a minute.
    "small": (story, ["--max-answer-tokens=4"], {}),
    "busy": (story, ["--max-num-seqs=1", "--max-waiting=1"], {}),
    "broken": (nothing, [], {}),
}


class Servers:
    """All of them, at free ports, until the end of a `with`."""

    def __init__(self, binary):
        self.binary = binary
        self.folder = tempfile.TemporaryDirectory(prefix="firstlight-clients-")
        self.children = {}
        self.urls = {}

    def __enter__(self):
        for name, (make, arguments, environment) in SETTINGS.items():
            model = make(Path(self.folder.name) / name)
            self.start(name, [model, f"--served-model-name={name}", *arguments], environment)
        return self

    def start(self, name, arguments, environment):
        log = Path(self.folder.name) / f"{name}.log"
        command = [self.binary, "serve", *arguments, "--host=127.0.0.1", "--port=0"]
        with log.open("w") as out:
            child = subprocess.Popen(command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.children[name] = child
        while not (address := re.search(r"listening at (http://[\d.:]+)", log.read_text())):
            if child.poll() is not None:
                raise SystemExit(f"`{name}` ended before it listened:\n{log.read_text()}")
        self.urls[name] = address[1]

    def __exit__(self, *_):
        for child in self.children.values():
            child.send_signal(signal.SIGTERM)
        codes = {name: child.wait(timeout=60) for name, child in self.children.items()}
        self.folder.cleanup()
        # What could not be loaded is an error of the process; nothing that a client did is one.
        expected = {name: int(name == "broken") for name in codes}
        if codes != expected:
            raise SystemExit(f"the servers ended with {codes}, not with {expected}")
