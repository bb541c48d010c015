#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every opening of a file or folder outside src/sys/ stands in scripts/opens.txt with its reason, and no more than that."""
import pathlib
import re
import sys

OPENS = re.compile(r"\b[io]?fstream\b(?!>)|\bfopen\(|(?<![\w>])::open(?:at2?)?\(|directory_iterator\b|::creat\(|async_open\(")
top = pathlib.Path(__file__).parents[1]
allowed = {}
for line in (top / "scripts/opens.txt").read_text().splitlines():
    if line and not line.startswith("#"):
        name, count, _why = line.split(None, 2)
        allowed[name] = count
failed = False
for path in sorted((top / "src").rglob("*")):
    name = str(path.relative_to(top))
    if path.suffix not in (".cc", ".h") or name.startswith("src/sys/") or name.endswith("_test.cc") or "/testing/" in name or "test_" in path.name:
        continue
    found = [(number, line.strip()) for number, line in enumerate(path.read_text().splitlines(), 1)
             if OPENS.search(line) and not line.startswith("#include")]
    entry = next((count for key, count in allowed.items() if name == key or (key.endswith("/") and name.startswith(key))), "0")
    if entry != "*" and len(found) > int(entry):
        failed = True
        for number, line in found:
            print(f"{name}:{number}: {line}", file=sys.stderr)
        print(f"  -> {len(found)} openings, {entry} in scripts/opens.txt: use sys/guest_dir.h, sys/pinned_path.h or sys/files.h", file=sys.stderr)
sys.exit(failed)
