# SPDX-License-Identifier: Apache-2.0
"""Twelve cells of {supervisor, QEMU, vsockd, pep, virtiofsd, CLI} × {SIGKILL, SIGSTOP} × {stages}, others each day: no orphan, a truthful
status, and the next `up` works. `PINHOLE_KILL_SEED` repeats a day's; scripts/soak runs all of them."""
import datetime
import os

import pytest

from kill_matrix import BY_FIRMWARE, SIGNALS, STAGES, VICTIMS, Matrix, all_cells, choose

SEED = os.environ.get("PINHOLE_KILL_SEED", datetime.date.today().isoformat())


@pytest.fixture(scope="module")
def matrix(home, policy):
    print(f"PINHOLE_KILL_SEED={SEED}")
    made = Matrix(home, policy, SEED)
    yield made
    made.down()
    home.check_logs()
    home.run("rm", "--force", made.NAME, timeout=120)


def test_every_day_has_its_cells():
    assert len(all_cells()) == len(set(all_cells())) == 6 * 2 * 6 + 2
    for day in range(100):
        cells = choose(day)
        assert len(set(cells)) == 12 and sum(cell.stage in BY_FIRMWARE for cell in cells) <= 2
        assert {cell.signal for cell in cells} == set(SIGNALS) and {cell.victim for cell in cells} == set(VICTIMS)
        assert {cell.stage for cell in cells} == set(STAGES)


@pytest.mark.parametrize("cell", choose(SEED), ids=str)
def test_kill(matrix, cell):
    matrix.run(cell)
