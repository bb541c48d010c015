# SPDX-License-Identifier: Apache-2.0
"""One VM through several boots: markers, user-data, and the deaths that end a VM (test_e_faults.py has the others)."""
import os
import signal

import pytest

from conftest import alive, processes_of, wait_until

USER_DATA = """#cloud-config
runcmd:
  - echo {word} >> /var/lib/ran
"""


@pytest.fixture(scope="module")
def cycle(home, policy):
    folder = home.root / "cycle-work"
    folder.mkdir()
    seed = home.root / "user-data.yaml"
    seed.write_text(USER_DATA.format(word="first"))

    def up():
        home.up("cycle", "--workspace", folder, "--policy", policy, "--user-data", seed)
        return home.json("status", "cycle")

    up.seed = seed
    return up


def ran(home):
    return home.sh("cycle", "cat /var/lib/ran").split()


def kill_and_see_it_end(home, status, victim):
    pids = status["processes"]
    os.kill(pids[victim], signal.SIGKILL)
    assert wait_until(lambda: not any(alive(pid) for pid in pids.values()), 5), f"left over after {victim} died"
    # virtiofsd has a child of its own, in namespaces of its own.
    assert wait_until(lambda: processes_of("cycle-work") == [], 5)
    after = home.json("status", "cycle")
    assert after["state"] in (0, 3) and after["reason"]
    return after


def test_boots_markers_user_data_and_kills(home, cycle):
    first = cycle()
    marker = (home.vm_dir("cycle") / "boot-ok.txt").read_text()
    assert ran(home) == ["first"]

    after = kill_and_see_it_end(home, first, "qemu")
    assert after["reason"] == "qemu was killed by SIGKILL"

    # Up again at once; the marker is a new one, an unchanged user-data does not run again.
    second = cycle()
    assert (home.vm_dir("cycle") / "boot-ok.txt").read_text() != marker
    assert second["nonce"] != first["nonce"] and second["instance_id"] == first["instance_id"]
    assert ran(home) == ["first"]

    after = kill_and_see_it_end(home, second, "supervisor")
    assert "without a word" in after["reason"]

    # A changed one does.
    cycle.seed.write_text(USER_DATA.format(word="changed"))
    third = cycle()
    assert third["instance_id"] != second["instance_id"]
    assert ran(home) == ["first", "changed"]

    assert third["state"] == 1
    home.ok("verify", "cycle", timeout=300)
    home.check_logs()
    home.ok("rm", "--force", "cycle", timeout=120)
    assert wait_until(lambda: not any(alive(pid) for pid in third["processes"].values()), 5)
