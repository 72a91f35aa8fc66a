"""Terraform's resources against the provider's schema: `provider_fields.py WHEEL MODULE` names what it does not know.

`terraform validate` asks the provider itself, which no package registry has. Its schema is in the bindings that CDK Terrain
generates from it, hashicorp/aws 6.69.1 for this wheel: a class for each resource and block, whose arguments are the fields,
without a default where they are required. Read as text, out of the wheel.
"""

import ast
import re
import sys
import zipfile
from functools import cache
from pathlib import Path

import hcl2

# What Terraform itself knows in each resource.
OWN = {"count", "for_each", "depends_on", "lifecycle", "provider"}
# What the bindings add to those of the provider.
OF_BINDINGS = OWN | {"connection", "provisioners"}

wheel = zipfile.ZipFile(sys.argv[1])
complaints = []


@cache
def module(name):
    """The arguments of each class in the bindings' module: name, type, and whether it is required."""
    found = {}
    for node in parsed_module(name):
        for method in methods(node):
            if method.name == "__init__":
                arguments = zip(method.args.kwonlyargs, method.args.kw_defaults)
                found[node.name] = {
                    argument.arg: (ast.unparse(argument.annotation), default is None)
                    for argument, default in arguments
                    if argument.arg not in OF_BINDINGS
                }
    return found


@cache
def parsed_module(name):
    try:
        text = wheel.read(f"cdktn_provider_aws/{name}/__init__.py").decode()
    except KeyError:
        return []
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return [node for node in classes if not node.name.startswith("_")]


def methods(node):
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]


def module_of(kind, is_data):
    return f"data_{kind}" if is_data else kind.removeprefix("aws_")


def class_of(classes, kind):
    """The bindings' name of a field's type, if the field is a block."""
    names = re.findall(r"\w+", kind)
    return next((name for name in names if name in classes), None)


def plain(block):
    """The block, with what its dynamic blocks may come to."""
    made = {bare(name): each["content"] for named in block.get("dynamic", []) for name, each in named.items()}
    return {name: value for name, value in block.items() if name != "dynamic"} | made


def check(place, classes, name, block):
    block = plain(block)
    fields = classes[name]
    given = {field for field in block if not field.startswith("__")}
    for field in sorted(given - set(fields) - OWN):
        complaints.append(f"{place}: `{field}` is unknown to the provider")
    for field, (kind, is_required) in fields.items():
        if is_required and field not in given:
            complaints.append(f"{place}: `{field}` is required")
        inner = class_of(classes, kind)
        if inner and field in given:
            blocks = block[field] if isinstance(block[field], list) else [block[field]]
            for each in blocks:
                if isinstance(each, dict):
                    check(f"{place}.{field}", classes, inner, each)


def bare(name):
    return name.strip('"')


def check_references(text, parsed):
    """What is named has to be declared, and what is asked of it has to be something that it has."""
    for is_data, kind, name, attribute in re.findall(r"(data\.)?\b(aws_\w+)\.(\w+)(?:\[\d+\])?\.(\w+)", text):
        if (bool(is_data), kind, name) not in parsed:
            complaints.append(f"{kind}.{name} is not declared")
        elif node := next(iter(parsed_module(module_of(kind, is_data))), None):
            if attribute not in {method.name for method in methods(node)}:
                complaints.append(f"{kind}.{name} has no `{attribute}`")
    for sort, name in re.findall(r"\b(var|local)\.(\w+)", text):
        if (sort, name) not in parsed:
            complaints.append(f"{sort}.{name} is not declared")


paths = sorted(Path(sys.argv[2]).glob("*.tf"))
declared = set()
for path in paths:
    parsed = hcl2.loads(path.read_text())
    declared |= {("var", bare(name)) for each in parsed.get("variable", []) for name in each}
    declared |= {("local", bare(name)) for each in parsed.get("locals", []) for name in each}
    for sort in ("resource", "data"):
        for kind, named in ((bare(kind), it) for each in parsed.get(sort, []) for kind, it in each.items()):
            for name, block in named.items():
                place = f"{path.name}: {kind}.{bare(name)}"
                declared.add((sort == "data", kind, bare(name)))
                classes = module(module_of(kind, sort == "data"))
                if classes:
                    # The first class is that of the resource.
                    check(place, classes, next(iter(classes)), block)
                else:
                    complaints.append(f"{place}: the provider has no such {sort}")
check_references("\n".join(path.read_text() for path in paths), declared)
for complaint in complaints:
    print(complaint)
sys.exit(bool(complaints))
