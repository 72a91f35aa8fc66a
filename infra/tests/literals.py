"""Manifests as TypeScript: `literals.py MANIFEST... > manifests.ts`.

The types of Knative's and KEDA's resources are in npm packages. A literal that is assigned to one of them may have no field
that the type does not know, at any depth, and has to have those that it requires: `tsc` says so.
"""

import json
import sys

import yaml

# Where the types of a group of resources are.
PACKAGES = {
    "serving.knative.dev": "@kubernetes-models/knative",
    "keda.sh": "@kubernetes-models/keda",
}

for number, (path, resource) in enumerate(
    (path, resource) for path in sys.argv[1:] for resource in yaml.safe_load_all(open(path))
):
    group, version = resource["apiVersion"].split("/")
    kind = resource["kind"]
    module = f"{PACKAGES[group]}/{group}/{version}/{kind}"
    print(f"// {path}")
    print(f'import type {{ I{kind} as Type{number} }} from "{module}";')
    print(f"export const resource{number}: Type{number} = {json.dumps(resource, indent=2)};")
