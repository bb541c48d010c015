# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/clients.md, each written by the test that saw what it says."""
import os
import pathlib

PAGE = pathlib.Path(__file__).parents[3] / "docs/clients.md"


def is_shown(writer, header, rows):
    """The table that `writer`, a test's file name, is named for holds exactly these rows."""
    lines = [header, ("---",) * len(header), *rows]
    table = "".join(f"| {' | '.join(row)} |\n".replace("| --- ", "|---").replace("---|", "---|") for row in lines)
    before, begin, rest = PAGE.read_text().partition(f"<!-- The table is written by tests/e2e/{writer}. -->\n")
    _, end, after = rest.partition("<!-- The table ends here. -->\n")
    assert begin and end, f"{PAGE} has no place for it"
    text = before + begin + table + end + after
    if os.environ.get("PINHOLE_WRITE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "PINHOLE_WRITE_DOCS=1 writes docs/clients.md anew; look at what changed, then commit it"
