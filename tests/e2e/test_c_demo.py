# SPDX-License-Identifier: Apache-2.0
"""`pinhole demo`, as the README has it."""
import pathlib
import signal
import subprocess

from conftest import BIN, BOOT_SECONDS, processes_of, wait_until


def test_demo_passes_every_check_and_leaves_nothing(home):
    before = {vm["name"] for vm in home.json("ls")}
    folders = set(pathlib.Path("/tmp").glob("pinhole-*"))
    verdict = home.json("demo", timeout=BOOT_SECONDS)
    assert verdict["ok"] is True
    names = [check["name"] for check in verdict["checks"] if check["ok"]]
    for needed in ["door: http, allowed", "door: https, allowed", "door: curl, http through the proxy", "door: curl, https through a tunnel", "the guest was booted by EFI firmware", "door: a name not allowed",
                   "door: a method not allowed", "door: a name that is loopback", "door: the metadata address",
                   "cloud-init ran this seed", "boot marker", "workspace: a file of the user's uid is the user's"]:
        assert needed in names
    # The last of them may be on its way out of the kernel still.
    assert wait_until(lambda: processes_of("nginx.conf") == [] and processes_of(verdict["vm"]) == [], 5)
    assert {vm["name"] for vm in home.json("ls")} == before
    assert set(pathlib.Path("/tmp").glob("pinhole-*")) <= folders


def test_an_interrupted_demo_leaves_nothing_either(home):
    folders = set(pathlib.Path("/tmp").glob("pinhole-*"))
    demo = subprocess.Popen([BIN / "pinhole", "demo"], env=home.env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # In the middle of the boot: the machine is there.
    wait_until(lambda: processes_of("serial=pinhole-disk") != [] or demo.poll() is not None, 60)
    there = processes_of("serial=pinhole-disk") != []
    demo.send_signal(signal.SIGINT)
    if not there:
        raise AssertionError(f"no machine: status {demo.wait(60)}\n{demo.stdout.read()}")
    assert demo.wait(60) == 130, demo.stdout.read()
    assert wait_until(lambda: processes_of("nginx.conf") == [] and processes_of("serial=pinhole-disk") == [], 10)
    assert [vm for vm in home.json("ls") if vm["name"].startswith("demo-")] == []
    assert set(pathlib.Path("/tmp").glob("pinhole-*")) <= folders
