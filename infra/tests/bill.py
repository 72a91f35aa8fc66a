"""Whether a bill of materials is valid CycloneDX 1.6, and lists what it should.

    bill.py BILL FOUND RESOLVED

FOUND is what syft found in the binary (its own JSON), RESOLVED what `cargo tree` says it is built from.
"""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main(bill, found, resolved):
    text = Path(bill).read_text()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        sys.exit(f"error: not valid: {error}")
    bill = json.loads(text)
    parts = [bill["metadata"]["component"], *bill["components"]]
    listed = {(part["name"], part["version"]) for part in parts}
    in_binary = {(part["name"], part["version"]) for part in parts if part["scope"] == "required"}
    found = {(part["name"], part["version"]) for part in json.loads(Path(found).read_text())["artifacts"]}
    resolved = {tuple(line.split()[:2]) for line in Path(resolved).read_text().splitlines()}
    resolved = {(name, version.removeprefix("v")) for name, version in resolved}
    if in_binary != found:
        sys.exit(f"error: what is listed and what syft finds differ by {sorted(in_binary ^ found)}")
    if not resolved <= listed:
        sys.exit(f"error: not listed: {sorted(resolved - listed)}")
    # cargo-auditable reads `cargo metadata`, in which features that only tests ask for are on.
    more = ", ".join(sorted(name for name, _ in listed - resolved))
    print(f"{len(in_binary)} crates in the binary, {len(listed - in_binary)} to build it; too many: {more or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
