# SPDX-License-Identifier: Apache-2.0
"""Every cell of the kill matrix (tests/e2e/kill_matrix.py), with stops that are long enough to be told of; then rounds of cells by lot."""
import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
from conftest import Home  # noqa: E402
from kill_matrix import Matrix, all_cells  # noqa: E402
from soak import say  # noqa: E402


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("rounds", nargs="?", type=int, default=100)
    words.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    words.add_argument("--no-table", action="store_true", help="the rounds alone")
    words.add_argument("--stopped", type=float, default=12.0, help="seconds that a SIGSTOP lasts in the table")
    words.add_argument("--only", default="", help="cells whose name holds this")
    given = words.parse_args()
    say(f"seed {given.seed}")
    root = pathlib.Path(tempfile.mkdtemp(prefix="ph-kill-", dir="/tmp"))
    home = Home(root)
    policy = root / "policy.yaml"
    policy.write_text("version: 1\n")
    home.ok("image", "build", "base", timeout=900)
    matrix = Matrix(home, policy, given.seed, given.stopped, say)
    dice = random.Random(given.seed)
    cells = [cell for cell in all_cells() if given.only in str(cell)]
    lot = [(dice.choice(cells), dice.uniform(0, 4)) for _ in range(given.rounds)]
    table = [] if given.no_table else [(cell, given.stopped) for cell in cells]
    failed = 0
    for cell, stopped in table + lot:
        matrix.stopped_seconds = stopped
        try:
            matrix.run(cell)
        except Exception:
            failed += 1
            say(f"PROBLEM: {cell}, stopped for {stopped:.1f} s\n{traceback.format_exc()}")
    matrix.down()
    home.check_logs()
    if failed == 0:
        home.run("rm", "--force", matrix.NAME, timeout=120)
        shutil.rmtree(root)
    say(f"{len(table)} cells and {len(lot)} rounds, {failed} failed" + (f"; what is left is in {root}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
