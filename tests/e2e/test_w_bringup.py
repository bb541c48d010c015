# SPDX-License-Identifier: Apache-2.0
"""What can be wrong between the start and "it works" while every file is right: the accelerator, the workspace, the door."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess

import pytest

from conftest import BIN, BOOT_SECONDS, alive, processes_of, wait_until


@pytest.fixture
def starting(home, tmp_path):
    """Starts a VM and gives its `up` as it runs; whatever came of it is removed."""
    names = []

    def start(name, *words):
        names.append(name)
        return subprocess.Popen([str(BIN / "pinhole"), "up", name, "--boot", "direct", "--no-config", *map(str, words)], env=home.env,
                                cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    yield start
    for name in names:
        home.run("rm", "--force", name, timeout=120)


def log_of(home, vm):
    with contextlib.suppress(FileNotFoundError):
        return (home.vm_dir(vm) / "status.log").read_text()
    return ""


def started(home, vm, process):
    return int(re.findall(rf" {process}: started, pid (\d+)", log_of(home, vm))[-1])


def processor_time(pid):
    """In seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def with_children(pid):
    """virtiofsd is two processes: one waits for the other."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [other for child in children for other in with_children(int(child))]


def stopped_while_it_starts(home, vm, up, process):
    """Stops one process as soon as the guest's first instructions run, until it has said hello and waited for it."""
    assert wait_until(lambda: "qemu: started" in log_of(home, vm) or up.poll() is not None, 60)
    qemu = started(home, vm, "qemu")
    assert wait_until(lambda: processor_time(qemu) > 0.5, 60)
    stopped = with_children(started(home, vm, process))
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert wait_until(lambda: "guest: hello" in log_of(home, vm) or up.poll() is not None, BOOT_SECONDS)
        # Connected is not ready.
        assert not wait_until(lambda: up.poll() is not None, 3)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    out, err = up.communicate(timeout=BOOT_SECONDS)
    assert up.returncode == 0, out + err


@pytest.mark.parametrize("process", ["pep", "virtiofsd"])
def test_who_is_late_is_waited_for(home, starting, tmp_path, process):
    """The guest asks again: what is not there yet is no failure of the boot."""
    up = starting("late", "--workspace", tmp_path)
    stopped_while_it_starts(home, "late", up, process)
    status = home.json("status", "late")
    assert status["state"] == 1 and all(stage["ok"] for stage in status["stages"].values()), status
    assert not any(line.startswith("status=000") for line in (home.vm_dir("late") / "vsock-fetch.out").read_text().splitlines())


def test_a_workspace_that_cannot_be_written_is_named(home, starting):
    """It is somebody else's; the same without the wish to write is fine."""
    folder = pathlib.Path("/usr/share/misc")
    before = sorted(folder.iterdir())
    up = starting("closed", "--workspace", folder)
    out, err = up.communicate(timeout=BOOT_SECONDS)
    assert up.returncode == 1 and "cannot create a file in /workspace: Permission denied" in err and "fix:" in err, err
    assert wait_until(lambda: processes_of(str(home.vm_dir("closed"))) == [], 5)
    assert sorted(folder.iterdir()) == before
    up = starting("closed", "--workspace", folder, "--ro")
    out, err = up.communicate(timeout=BOOT_SECONDS)
    assert up.returncode == 0, out + err


def test_kvm_is_used_only_where_it_boots_a_kernel(home, starting):
    up = starting("fast", "--no-workspace", "--accel", "auto")
    out, err = up.communicate(timeout=BOOT_SECONDS)
    assert up.returncode == 0, out + err
    status = home.json("status", "fast")
    reason = status["accelerator_reason"]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert status["accelerator"] == "tcg" and reason.startswith("/dev/kvm is ") and reason.endswith("using software emulation")
    elif status["accelerator"] == "kvm":
        assert reason == "KVM boots a kernel here"
    else:
        assert reason.startswith("KVM is present, but ") and reason.endswith("; using software emulation")
    assert alive(status["processes"]["qemu"])
