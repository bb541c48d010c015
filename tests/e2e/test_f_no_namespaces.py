# SPDX-License-Identifier: Apache-2.0
"""A host that forbids user namespaces, as one inside the kernel's own limits: what still works, what is refused, and
that Pinhole says which is which."""
import json
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from conftest import BIN, Home

# In a user namespace of its own, so that the limit holds for what runs in it alone; and with no capability left in it, so
# that it is as an ordinary user's.
LOCK = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all -- \"$@\"", "sh"]


class LockedHome(Home):
    def run(self, *args, timeout=60, env=None, cwd="/", input=None, text=True):
        return subprocess.run([*LOCK, str(BIN / "pinhole"), *map(str, args)], env={**self.env, **(env or {})}, cwd=cwd, timeout=timeout,
                              input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=text)


@pytest.fixture(scope="module")
def locked(home):  # home: the image is there
    root = pathlib.Path(tempfile.mkdtemp(prefix="ph-", dir="/tmp"))
    made = LockedHome(root)
    yield made
    made.remove_all()
    shutil.rmtree(root)


def checks_of(done):
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_doctor_of_the_host_as_it_is(home):
    done = home.run("doctor", "--quick", "--json")
    checks = checks_of(done)
    assert done.returncode == 0 and checks["user namespaces"]["severity"] == "ok", done.stdout
    assert checks["confinement"]["finding"] == "full"


def test_doctor_names_what_is_missing_and_the_way_out(locked):
    done = locked.run("doctor", "--quick", "--json")
    checks = checks_of(done)
    assert done.returncode == 1
    assert checks["user namespaces"]["severity"] == "problem"
    assert checks["user namespaces"]["fix"] == "sudo sysctl -w user.max_user_namespaces=15000"
    assert checks["confinement"]["finding"].startswith("weak; no user namespaces: ")
    text = locked.run("doctor", "--quick")
    assert text.returncode == 1 and "PROBLEM user namespaces" in text.stdout and "fix:  sudo sysctl -w user.max_user_namespaces=15000" in text.stdout


def test_a_workspace_is_refused_with_the_way_out(locked):
    work = locked.root / "work"
    work.mkdir()
    done = locked.run("up", "locked", "--boot", "efi", "--workspace", work, timeout=300)
    assert done.returncode != 0
    assert f"cannot share {work}: this host refuses user namespaces" in done.stderr
    assert "fix:" in done.stderr and "pinhole doctor" in done.stderr and "--no-workspace" in done.stderr
    assert not locked.vm_dir("locked").exists()


def test_a_vm_without_a_workspace_runs_and_says_how_it_is_confined(locked):
    locked.up("locked")
    status = locked.json("status", "locked")
    assert status["state"] == 1 and status["confinement"] == "weak"
    assert any(what.startswith("no user namespaces") for what in status["confinement_missing"])
    text = locked.ok("status", "locked").stdout
    assert "weak" in text and "no user namespaces" in text
    verdict = locked.json("verify", "locked", timeout=300)
    assert verdict["ok"] is True, verdict
    assert locked.sh("locked", "echo inside").strip() == "inside"
    assert locked.ok("down", "locked", timeout=150).stdout.startswith("locked: stopped\n")
    locked.check_logs()
