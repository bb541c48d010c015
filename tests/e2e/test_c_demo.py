# SPDX-License-Identifier: Apache-2.0
"""`pinhole demo`, as the README has it."""
from conftest import BOOT_SECONDS, processes_of


def test_demo_passes_every_check_and_leaves_nothing(home):
    before = {vm["name"] for vm in home.json("ls")}
    verdict = home.json("demo", timeout=BOOT_SECONDS)
    assert verdict["ok"] is True
    names = [check["name"] for check in verdict["checks"] if check["ok"]]
    for needed in ["door: http, allowed", "door: https, allowed", "door: curl, through the proxy", "door: a name not allowed",
                   "door: a method not allowed", "door: a name that is loopback", "door: the metadata address",
                   "cloud-init ran this seed", "boot marker", "workspace: a file of the user's uid is the user's"]:
        assert needed in names
    assert processes_of("nginx.conf") == [] and processes_of(verdict["vm"]) == []
    assert {vm["name"] for vm in home.json("ls")} == before
