"""What the manifests say of firstlight, against the program itself: `names.py BINARY INFRA` names what is not so.

The program is started once with the settings of each manifest, and a model of this repository instead of the manifest's:
every variable has to be one that `serve --help` names, every value one that it takes, every probe a path that answers at the
port that is named, and every metric, also of the README, one that `/metrics` has.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

BINARY, INFRA = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
MODEL = Path(__file__).parents[2] / "tests/fixtures/demo-model"
# What AWS's libraries read, which `--help` does not list.
OF_AWS = {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
PORT = 8000

complaints = []


def resources(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def found(node, key):
    """Each value of `key`, however deep."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from found(value, key)
    elif isinstance(node, list):
        for each in node:
            yield from found(each, key)


def of_kubernetes(path):
    """The variables of each container of a manifest, or of each model that KServe puts into one."""
    for resource in resources(path):
        for variables in found(resource, "env"):
            yield {each["name"]: each.get("value", "of-a-secret") for each in variables}


def of_compose(path):
    for service in resources(path)[0]["services"].values():
        yield service.get("environment", {})


def of_sam(path):
    # Short forms of CloudFormation become their text, and what is put into a text becomes `x`.
    yaml.SafeLoader.add_multi_constructor("!", lambda loader, suffix, node: text_of(node))
    for variables in found(resources(path)[0], "Variables"):
        yield {name: filled_in(str(value)) for name, value in variables.items()}


def text_of(node):
    return node.value if isinstance(node.value, str) else "of-a-secret"


def filled_in(text):
    return re.sub(r"\$\{[^}]*\}", "x", text)


def of_terraform(path):
    text = path.read_text()
    block = re.search(r"^  environment \{\n(.*?)^  \}\n", text, re.M | re.S)
    pairs = re.findall(r'^ +([A-Z_0-9]+) += (?:"(.*)"|\S+)', block[1], re.M) if block else []
    # What is no text, or is put in from elsewhere, has to be a variable, but its value is unknown.
    yield {name: filled_in(value) for name, value in pairs if value}
    unknown = set(re.findall(r"\b([A-Z][A-Z_0-9]+) += ", text)) - known
    complaints.extend(f"{path}: `{name}` is no variable of firstlight" for name in sorted(unknown))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return None, ""


class Started:
    """The program with these settings, until the block ends."""

    def __init__(self, variables):
        self.port = free_port()
        # A model of this machine, and what computes on it; the rest as the manifest says.
        ours = {"MODEL": str(MODEL), "PORT": str(self.port), "FIRSTLIGHT_DEVICE": "cpu"}
        clean = {"PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(
            [BINARY, "serve"], env=clean | variables | ours, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def until(self, path, *statuses):
        """Whether the path answers with one of these before the process ends, and within 30 s."""
        ends = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < ends:
            if ask(self.port, path)[0] in statuses:
                return True
            time.sleep(0.05)
        return False

    def said(self):
        """Ends the process, and gives its log."""
        self.process.kill()
        return self.process.stderr.read().strip()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def check_settings(path, variables):
    for name in sorted(set(variables) - known - OF_AWS):
        complaints.append(f"{path}: `{name}` is no variable of firstlight")
    with Started({name: str(value) for name, value in variables.items()}) as started:
        # 503 where the model, which is not there, has been given up already.
        if not started.until("/health/live", 200, 503):
            complaints.append(f"{path}: firstlight does not start with its settings: {started.said()}")


def check_probes(path, port):
    for resource in resources(path):
        for ports in found(resource, "ports"):
            for each in ports if isinstance(ports, list) else []:
                if isinstance(each, dict) and each.get("containerPort", PORT) != PORT:
                    complaints.append(f"{path}: containerPort {each['containerPort']} is not {PORT}")
        for probe in found(resource, "httpGet"):
            status, _ = ask(port, probe["path"])
            if status != 200:
                complaints.append(f"{path}: {probe['path']} answers {status}")
            if probe.get("port") not in (PORT, "http", "http1"):
                complaints.append(f"{path}: nothing listens at {probe.get('port')}")


def check_metrics(path, metrics):
    text = path.read_text()
    # Also as `vllm:num_requests_running{model_name="…"}`.
    for name in sorted(set(re.findall(r"\b(?:vllm:\w+|firstlight_[a-z_]+)", text))):
        if name not in metrics:
            complaints.append(f"{path}: `{name}` is not among the metrics")
    for label in set(re.findall(r'model_name="(\w+)"', text)):
        if f'model_name="{label}"' not in metrics:
            complaints.append(f"{path}: `{label}` is not what the model is called")


usage = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, check=True).stdout
known = set(re.findall(r"\[env: (\w+)", usage)) | {"STORAGE_URI"}
if not re.search(rf"env: PORT=.*?default: {PORT}\]", usage, re.S):
    complaints.append(f"firstlight does not listen at {PORT} unless it is told to")

kubernetes = [*sorted((INFRA / "kubernetes").glob("*.yaml")), INFRA / "google/cloud-run.yaml"]
sources = [(path, of_kubernetes(path)) for path in kubernetes]
sources += [(INFRA / "compose.yaml", of_compose(INFRA / "compose.yaml"))]
sources += [(INFRA / "aws/sam.yaml", of_sam(INFRA / "aws/sam.yaml"))]
sources += [(INFRA / "aws/terraform/main.tf", of_terraform(INFRA / "aws/terraform/main.tf"))]
for path, each in sources:
    for variables in each:
        if any(name.startswith(("FIRSTLIGHT_", "MODEL")) for name in variables):
            check_settings(path, variables)

deployed = next(of_kubernetes(INFRA / "kubernetes/deployment.yaml"))
with Started(deployed) as started:
    if started.until("/health/ready", 200):
        for path in kubernetes:
            check_probes(path, started.port)
        metrics = ask(started.port, "/metrics")[1]
        check_metrics(INFRA / "kubernetes/keda.yaml", metrics)
        check_metrics(INFRA / "README.md", metrics)
    else:
        complaints.append(f"firstlight does not become ready as deployment.yaml has it: {started.said()}")

for complaint in complaints:
    print(complaint)
sys.exit(bool(complaints))
