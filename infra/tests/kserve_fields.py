"""KServe's resources against the classes of its own client: `kserve_fields.py MANIFEST...` names what they do not know.

The client's package has a class for each type, with a table of its fields and their types: read here as text, as importing
it takes half of PyTorch's dependencies. What is Kubernetes' own is described by the schemas of kubernetes-validate.
"""

import ast
import importlib.util
import json
import re
import sys
from functools import cache
from pathlib import Path

import jsonschema
import yaml

KUBERNETES = "1.37.0"
PLAIN = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "object": "object"}


def package(name):
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


@cache
def classes():
    """The fields of each class, with their types, and which of them are required."""
    found = {}
    for path in (package("kserve") / "models").glob("*.py"):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                tables = {
                    statement.targets[0].id: ast.literal_eval(statement.value)
                    for statement in node.body
                    if isinstance(statement, ast.Assign)
                    and statement.targets[0].id in ("openapi_types", "attribute_map")
                }
                names = tables["attribute_map"]
                required = set(re.findall(r"`(\w+)`, must not be `None`", text)) & set(names)
                fields = {names[field]: kind for field, kind in tables["openapi_types"].items()}
                found[node.name] = fields, [names[field] for field in sorted(required)]
    return found


@cache
def kubernetes():
    """The strict schemas of Kubernetes' own types, by their long names."""
    folder = package("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    return json.loads((folder / "_definitions.json").read_text())["$defs"]


def kubernetes_name(kind):
    """`V1Probe` is `io.k8s.api.core.v1.Probe`, or what else ends so; nothing, if there is no such type."""
    if kind == "ResourceQuantity":
        return "io.k8s.apimachinery.pkg.api.resource.Quantity"
    match = re.search(r"(V\d(?:(?:alpha|beta)\d)?)([A-Z]\w+)$", kind)
    if not match:
        return None
    ending = f".{match[1].lower()}.{match[2]}"
    core = "io.k8s.api.core" + ending
    return core if core in kubernetes() else next((it for it in kubernetes() if it.endswith(ending)), None)


def schema(kind):
    if item := re.fullmatch(r"list\[(.+)\]", kind):
        return {"type": "array", "items": schema(item[1])}
    if value := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {"type": "object", "additionalProperties": schema(value[1])}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if kind in classes():
        return {"$ref": f"#/$defs/{kind}"}
    name = kubernetes_name(kind)
    # Of a few types nothing is known here: no field may be of them.
    return {"$ref": f"#/$defs/{name}"} if name else False


def whole(kind):
    """The schema of a class, and of all that it refers to."""
    definitions, waiting = {}, [kind]
    while waiting:
        kind_of_field = waiting.pop()
        fields, required = classes()[kind_of_field]
        properties = {name: schema(each) for name, each in fields.items()}
        definitions[kind_of_field] = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        text = json.dumps(properties)
        referred = set(re.findall(r'#/\$defs/(\w+)"', text))
        waiting += referred - set(definitions) - set(waiting)
    return {"$ref": f"#/$defs/{kind}", "$defs": definitions | kubernetes()}


failed = False
for path in sys.argv[1:]:
    for resource in yaml.safe_load_all(open(path)):
        version = resource["apiVersion"].removeprefix("serving.kserve.io/")
        kind = version.capitalize() + resource["kind"]
        validator = jsonschema.Draft7Validator(whole(kind))
        for error in validator.iter_errors(resource):
            failed = True
            print(f"{path}: {resource['kind']}: {'/'.join(map(str, error.path))}: {error.message[:200]}")
sys.exit(failed)
