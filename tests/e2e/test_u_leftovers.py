# SPDX-License-Identifier: Apache-2.0
"""What crashes leave behind, and who deals with it: `up`, `gc`; disk accounting; images that are in use."""
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import BIN, Home, alive, processes_of, wait_until

VM = "left"


@pytest.fixture(scope="module")
def work(home):
    folder = home.root / "left-work"
    folder.mkdir()
    home.ok("gc")
    return folder


def up(home, work, *more):
    return home.up(VM, "--boot", "direct", "--accel", "tcg", "--workspace", work, *more)


def kill_supervisor(home):
    """Returns the pids of that boot, all of them dead."""
    pids = home.json("status", VM)["processes"]
    os.kill(pids["supervisor"], signal.SIGKILL)
    assert wait_until(lambda: not any(alive(pid) for pid in pids.values()), 5)
    return pids


def leftovers(home):
    """Without those that only their age makes known: other tests may have left some."""
    found = home.json("gc", "--dry-run")["leftovers"]
    return [one for one in found if one["kind"] not in ("empty review", "runtime folder")]


def record_of(home):
    return home.vm_dir(VM) / "runtime.json"


def test_a_clean_end_leaves_nothing(home, work):
    up(home, work)
    written = json.loads(record_of(home).read_text())
    running = home.json("status", VM)["processes"]
    assert {one["name"]: one["pid"] for one in written["processes"]} == running
    assert written["host_boot"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert leftovers(home) == []
    home.ok("down", VM, timeout=150)
    assert not record_of(home).exists() and leftovers(home) == []


def test_up_tells_of_a_boot_that_nobody_ended(home, work):
    up(home, work)
    kill_supervisor(home)
    [found] = leftovers(home)
    assert found["kind"] == "boot" and found["name"] == VM and found["processes"] == [] and not found["removed"]
    assert record_of(home).exists()  # a dry run
    assert home.json("status", VM)["reason"] == "ended without a word while it was running"
    said = up(home, work).stderr
    assert f'note: VM "{VM}" ended without a word: its supervisor is gone\n' in said
    assert leftovers(home) == []
    assert f'"{VM}" ended' not in home.run("up", VM, timeout=60).stderr  # it runs


def test_gc_removes_it_and_a_second_time_finds_nothing(home, work):
    kill_supervisor(home)
    sockets = home.root / "run/pinhole" / VM
    assert sockets.exists()
    shown = home.ok("gc", "--dry-run").stdout
    assert re.search(rf'^found +\S+ \S+  VM "{VM}" ended without a word: its supervisor is gone$', shown, re.M) and "would free" in shown
    assert sockets.exists()
    shown = home.ok("gc").stdout
    assert re.search(rf'^removed +\S+ \S+  VM "{VM}" ended', shown, re.M) and re.search(r"^freed ", shown, re.M)
    assert not sockets.exists() and not record_of(home).exists()
    assert leftovers(home) == []


class Survivor:
    """A process that stands for one of the VM's that outlived its supervisor, and the record that names it."""

    def __init__(self, home, name, holds_lock):
        lock = home.vm_dir(VM) / "lock"
        self.fd = os.open(lock, os.O_RDWR)
        if holds_lock:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.process = subprocess.Popen(["sleep", "1000"], pass_fds=[self.fd] if holds_lock else [])
        os.close(self.fd)
        self.pid = self.process.pid
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        self.entry = {"name": name, "pid": self.pid, "started": int(stat[19]), "uid": os.getuid()}

    def gone(self):
        return self.process.poll() is not None

    def end(self):
        self.process.kill()
        self.process.wait()


def write_record(home, *entries, boot=None):
    boot = boot or pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    dead = {"name": "supervisor", "pid": 4194303, "started": 1, "uid": os.getuid()}
    record_of(home).write_text(json.dumps({"version": 1, "host_boot": boot, "pid_namespace": os.readlink("/proc/self/ns/pid"),
                                           "processes": [dead, *entries], "paths": [str(home.root / "run/pinhole" / VM)]}))


def test_what_outlived_its_supervisor_is_ended_by_up_and_nobody_else_is(home, work):
    ours, stopped, bystander = (Survivor(home, name, False) for name in ("qemu", "vsockd", "pep"))
    os.kill(stopped.pid, signal.SIGSTOP)
    other = {**bystander.entry, "started": bystander.entry["started"] + 1}  # the pid was used again
    write_record(home, ours.entry, stopped.entry, other)
    try:
        said = up(home, work).stderr
        assert f"what it left still runs: qemu (process {ours.pid}), vsockd (process {stopped.pid}); ended" in said
        assert wait_until(lambda: ours.gone() and stopped.gone(), 5) and not bystander.gone()
    finally:
        for one in (ours, stopped, bystander):
            one.end()
    home.ok("down", VM, timeout=150)


def test_a_recorded_process_that_holds_the_lock_is_ended(home, work):
    holder = Survivor(home, "virtiofsd", True)
    write_record(home, holder.entry)
    try:
        said = up(home, work).stderr
        assert f"note: ended what an earlier boot had left: virtiofsd (process {holder.pid})\n" in said and holder.process.wait(5) == -9
    finally:
        holder.end()
    home.ok("down", VM, timeout=150)


def test_who_holds_the_lock_without_a_record_is_named_and_left_alone(home, work):
    plan = (home.vm_dir(VM) / "plan.json").read_bytes()
    lock = home.vm_dir(VM) / "lock"
    # flock(1) takes it itself, so the kernel names it.
    holder = subprocess.Popen(["flock", str(lock), "sh", "-c", "echo held; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        done = home.run("up", VM, "--boot", "direct", "--workspace", work, timeout=120)
        assert done.returncode == 1
        assert done.stderr.startswith(f'pinhole: cannot start VM "{VM}": process {holder.pid} (flock) holds its lock {lock}\n'), done.stderr
        assert f"fix:  see what it is: ps -fp {holder.pid}; once it has ended: pinhole up {VM}" in done.stderr
        assert holder.poll() is None and (home.vm_dir(VM) / "plan.json").read_bytes() == plan
    finally:
        holder.communicate()
    up(home, work)
    home.ok("down", VM, timeout=150)


def test_after_a_restart_of_the_host_no_pid_counts(home, work):
    innocent = Survivor(home, "supervisor", False)
    write_record(home, innocent.entry, boot="11111111-2222-3333-4444-555555555555")
    try:
        [found] = leftovers(home)
        assert found["text"] == f'the host was restarted while VM "{VM}" ran' and found["processes"] == []
        assert f'note: the host was restarted while VM "{VM}" ran\n' in up(home, work).stderr
        assert not innocent.gone()
    finally:
        innocent.end()


def test_an_image_that_a_vm_stands_on_is_not_removed(home, work):
    done = home.run("image", "rm", "base")
    assert done.returncode == 1
    assert done.stderr.startswith('pinhole: cannot remove image "base": VM') and f'"{VM}"' in done.stderr
    assert "(their disks are lost)" in done.stderr
    assert home.json("image", "inspect", "base")["name"] == "base"


@pytest.fixture
def images(home, tmp_path):
    """A store of its own, with two images that need not boot."""
    store = tmp_path / "pinhole/images"
    store.mkdir(parents=True, mode=0o700)
    real = pathlib.Path(home.json("image", "inspect", "base")["disk"]["path"]).parent
    for name in ("old", "new"):
        (store / name).mkdir()
        manifest = (real / "manifest.yaml").read_text()
        (store / name / "manifest.yaml").write_text(re.sub(r"(?m)^name: .*$", f"name: {name}", manifest))
    long_ago = (store / "old/manifest.yaml")
    long_ago.write_text(re.sub(r"(?m)^built: .*$", 'built: "2020-01-01T00:00:00.000Z"', long_ago.read_text()))
    return store


def test_gc_removes_images_that_nobody_uses_when_asked(home, images):
    env = {"XDG_DATA_HOME": str(images.parents[1])}
    assert json.loads(home.ok("gc", "--dry-run", "--json", env=env).stdout)["leftovers"] == []
    (images / ".used-old").write_text("2020-02-01T00:00:00.000Z\n")
    [found] = json.loads(home.ok("gc", "--images", "--json", env=env).stdout)["leftovers"]
    assert found["kind"] == "unused image" and found["name"] == "old" and found["removed"]
    assert sorted(path.name for path in images.iterdir() if not path.name.startswith(".")) == ["new"]


def test_space_is_accounted_for_and_discard_gives_it_back(home, work):
    def usage():
        return home.json("status", VM)["disk_usage"]

    before = usage()
    home.sh(VM, "head -c 100000000 /dev/zero > /root/zeros && sync && rm /root/zeros && sync")
    assert usage() < before + 60_000_000  # zeros take nothing
    home.sh(VM, "head -c 1000000 /dev/urandom > /root/one && for i in $(seq 200); do cat /root/one; done > /root/big && sync")
    full = usage()
    assert full > before + 190_000_000
    [listed] = [one for one in home.json("ls") if one["name"] == VM]
    assert listed["disk_usage"] > before + 190_000_000
    assert re.search(rf"^{VM} +running +base +\d+\.\d MiB ", home.ok("ls").stdout, re.M)
    kept = {one["what"]: one for one in home.json("gc", "--dry-run")["kept"]}
    assert kept["VMs"]["bytes"] >= full and kept["VMs"]["complete"]
    home.sh(VM, "rm /root/big /root/one && sync && fstrim /")
    assert wait_until(lambda: usage() < before + 60_000_000, 30), (before, full, usage())


def test_gc_leaves_a_running_vm_alone_and_a_killed_run_is_swept(home, work):
    pids = home.json("status", VM)["processes"]
    run = subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--boot", "direct", "--no-workspace", "--", "sh", "-c", "echo in; sleep 1000"],
                           env=home.env, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert run.stdout.readline() == "in\n"
    [ephemeral] = [one["name"] for one in home.json("ls") if one["name"] != VM and one["name"].startswith("run-")]
    assert leftovers(home) == []
    run.kill()
    run.wait()
    assert wait_until(lambda: processes_of(f"supervise\0{ephemeral}") == [], 5)
    assert {one["kind"] for one in leftovers(home)} == {"boot", "ephemeral VM"}
    done = home.json("gc")
    assert all(one["removed"] for one in done["leftovers"]) and leftovers(home) == []
    assert not home.vm_dir(ephemeral).exists() and (home.root / "state/pinhole/runs" / ephemeral / "audit.jsonl").exists()
    assert home.json("status", VM)["processes"] == pids and home.exec(VM, "true").returncode == 0


def start_on_terminal(home, *words):
    """The command on a terminal of its own; returns its pid and our end of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(BIN / "pinhole"), ["pinhole", *map(str, words)], home.env)
    return pid, terminal


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGINT", "closed terminal", "SIGKILL"])
def test_a_start_that_nobody_waits_for_is_given_up(home, work, how):
    home.run("down", "--force", VM, timeout=150)
    pid, terminal = start_on_terminal(home, "up", VM, "--boot", "direct", "--accel", "tcg", "--workspace", work)

    def started():
        try:
            return "qemu" in [one["name"] for one in json.loads(record_of(home).read_text())["processes"]]
        except (OSError, ValueError):
            return False

    assert wait_until(started, 60)
    pids = [one["pid"] for one in json.loads(record_of(home).read_text())["processes"]]
    os.close(terminal) if how == "closed terminal" else os.kill(pid, getattr(signal, how))
    assert wait_until(lambda: not any(alive(one) for one in pids), 5), (home.vm_dir(VM) / "status.log").read_text()[-2000:]
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how != "closed terminal":
        os.close(terminal)
    now = home.json("status", VM)
    assert now["state"] == 0
    assert now["reason"] in ("the supervisor got SIGTERM", "the command that was starting it is gone")
    assert ended == (-9 if how == "SIGKILL" else 130)
    assert leftovers(home) == []


def test_a_second_up_says_who_is_at_it(home, work):
    command = subprocess.Popen([str(BIN / "pinhole"), "up", VM, "--boot", "direct", "--accel", "tcg", "--workspace", str(work)], env=home.env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def preparing():
        try:
            return [one["name"] for one in json.loads(record_of(home).read_text())["processes"]] == ["up"]
        except (OSError, ValueError):
            return False

    assert wait_until(preparing, 60)
    command.send_signal(signal.SIGSTOP)
    try:
        if preparing():
            done = home.run("up", VM, "--boot", "direct", "--workspace", work, timeout=120)
            assert done.returncode == 1
            assert f'VM "{VM}" is being started by another pinhole (process {command.pid}, which is stopped)' in done.stderr
            assert f"fix:  wait for it, or end it: kill -9 {command.pid}" in done.stderr
    finally:
        command.send_signal(signal.SIGCONT)
    assert command.wait(120) == 0 and home.json("status", VM)["state"] == 1


def test_a_vm_of_another_state_folder_keeps_its_sockets(home, work, tmp_path):
    other = Home.__new__(Home)
    other.root, other.env = home.root, {**home.env, "XDG_STATE_HOME": str(tmp_path / "state")}
    (tmp_path / "state").mkdir(mode=0o700)
    done = other.run("up", VM, "--boot", "direct", "--accel", "tcg", "--no-config", timeout=120)
    assert done.returncode == 1 and "is in use by another VM of that name" in done.stderr, done.stderr
    assert home.exec(VM, "true").returncode == 0
    # Nor does its gc touch what answers.
    assert [one for one in other.json("gc")["leftovers"] if one["kind"] == "runtime folder"] == []
    assert home.exec(VM, "true").returncode == 0
    assert other.json("down", VM)["stopped"] is False
    other.ok("rm", "--force", VM)
    assert home.exec(VM, "true").returncode == 0
    home.ok("rm", "--force", VM, timeout=150)
    assert leftovers(home) == []
