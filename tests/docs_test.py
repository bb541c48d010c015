#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every test and every file that the documents name exists.   docs_test.py SOURCE_FOLDER"""
import pathlib
import re
import sys

top = pathlib.Path(sys.argv[1]).resolve()
sources = [p for folder in ("src", "tests") for p in (top / folder).rglob("*") if p.suffix in (".cc", ".py", ".txt")]
text = "\n".join(p.read_text(errors="replace") for p in sources)
tests = {f"{m[1]}.{m[2]}" for m in re.finditer(r"TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)", text)}
suites = {name.split(".")[0] for name in tests}
functions = set(re.findall(r"^def (test_\w+)\(", text, re.M))
problems = []

for page in [top / "ARCHITECTURE.md", top / "README.md", top / "HACKING.md", *sorted((top / "docs").glob("*.md"))]:
    words = page.read_text()
    for name in re.findall(r"`([A-Z]\w+\.(?:[A-Z]\w+|\*))`", words):
        suite, test = name.split(".")
        if suite not in suites or (test != "*" and name not in tests):
            problems.append(f"{page.name}: there is no test {name}")
    for name in re.findall(r"`(test_\w+)`", words):
        if name not in functions:
            problems.append(f"{page.name}: there is no test {name}")
    for name in re.findall(r"`((?:src|tests|scripts|bench|docs|images)/[\w./*-]+)`", words):
        if not list(top.glob(name.replace("NAME", "*"))):
            problems.append(f"{page.name}: there is no {name}")
    for target, anchor in re.findall(r"\]\(([\w./-]*\.md)(?:#([\w-]+))?\)", words):
        other = (page.parent / target).resolve()
        if not other.exists():
            problems.append(f"{page.name}: a link leads to {target}, which is missing")
        elif anchor and anchor not in {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
                                       for h in re.findall(r"^#+ (.*)$", other.read_text(), re.M)}:
            problems.append(f"{page.name}: {target} has no heading #{anchor}")

print("\n".join(problems) or f"{len(tests)} tests, {len(functions)} end-to-end tests: what the documents name exists")
sys.exit(bool(problems))
