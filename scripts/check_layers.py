# SPDX-License-Identifier: Apache-2.0
"""Every #include "module/…" in src/ must be an edge of scripts/layers.txt."""
import pathlib
import re
import sys

top = pathlib.Path(__file__).resolve().parent.parent
allowed = {}
for line in (top / "scripts/layers.txt").read_text().splitlines():
    if line and not line.startswith("#"):
        module, _, edges = line.partition(":")
        allowed[module] = {module, *edges.split()}

bad = 0
for path in sorted((top / "src").rglob("*")):
    if path.suffix not in (".cc", ".h"):
        continue
    module = path.relative_to(top / "src").parts[0]
    if module not in allowed:
        print(f"{path}: module {module} is not in scripts/layers.txt")
        bad += 1
        continue
    # A test may use whatever lies below any layer; production code may not.
    if path.name.endswith("_test.cc") or "testing" in path.parts:
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'#include "([a-z0-9_]+)/', line)
        if match and match[1] not in allowed[module]:
            print(f"{path.relative_to(top)}:{number}: {module} must not include {match[1]}")
            bad += 1
sys.exit(1 if bad else 0)
