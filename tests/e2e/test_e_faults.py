# SPDX-License-Identifier: Apache-2.0
"""Processes that die or stop, and disks that are full: docs/faults.md says what has to happen, this shows that it does."""
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from conftest import BIN, BOOT_SECONDS, Home, alive, processes_of, wait_until

RESTARTED = ("pep", "vsockd", "virtiofsd")
FETCH = ("/usr/lib/pinhole/pinhole-agent", "fetch", "-o", "/dev/null", "http://origin.test/x")


@pytest.fixture(scope="module")
def faulty(home, policy):
    folder = home.root / "faulty-work"
    folder.mkdir()

    def up():
        home.up("faulty", "--workspace", folder, "--policy", policy)
        return home.json("status", "faulty")

    up.folder = folder
    return up


def door_works(home, name):
    done = home.exec(name, *FETCH)
    return done.returncode == 0 and "status=200 " in done.stdout + done.stderr


def workspace_works(home, name, folder):
    """Both ways, with new names, so that nothing cached answers."""
    word = f"w{time.monotonic_ns()}"
    (folder / f"host-{word}").write_text(word)
    done = home.exec(name, "sh", "-c", f"cat /workspace/host-{word} && echo {word} > /workspace/guest-{word} && rm /workspace/host-{word}")
    if done.returncode != 0 or done.stdout != word:
        return False
    return (folder / f"guest-{word}").read_text() == word + "\n" and not (folder / f"host-{word}").exists()


def all_works(home, name, folder, seconds=60):
    assert wait_until(lambda: door_works(home, name), seconds), home.run("logs", "--status", name).stdout
    assert wait_until(lambda: workspace_works(home, name, folder), seconds), home.run("logs", "--status", name).stdout


def check_audit(path):
    """Every record follows the one before, whoever wrote it; how many there are of each kind."""
    kinds = {}
    previous = None
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        record = json.loads(line)
        assert record["seq"] == number
        if previous is not None:
            assert record["prev"] == hashlib.sha256(previous).hexdigest(), number
        previous = line
        kinds[record["kind"]] = kinds.get(record["kind"], 0) + 1
    return kinds


def status_log(home, name):
    return (home.vm_dir(name) / "status.log").read_text()


def in_background(home, name, script):
    return subprocess.Popen([str(BIN / "pinhole"), "exec", name, "--uid", "0", "--", "sh", "-c", script], env=home.env,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def kill_and_see_it_replaced(home, victim, restarted=None):
    """`restarted`: the one that is counted, where it is another."""
    old = home.json("status", "faulty")["processes"][victim]
    told = status_log(home, "faulty").count(f"{restarted or victim}: works again")
    os.kill(old, signal.SIGKILL)

    def replaced():
        now = home.json("status", "faulty")
        return (now["processes"].get(victim, old) != old
                and status_log(home, "faulty").count(f"{restarted or victim}: works again") > told)

    assert wait_until(replaced, 60), status_log(home, "faulty")


def nothing_left(home, pids, marker):
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 10)
    assert wait_until(lambda: processes_of(marker) == [], 10)


def test_what_dies_is_started_again_in_the_same_boot(home, faulty):
    before = faulty()
    all_works(home, "faulty", faulty.folder)
    for victim in RESTARTED:
        busy = None
        if victim == "virtiofsd":
            # With requests under way: they must get an error, or this would never end.
            busy = in_background(home, "faulty", "while dd if=/dev/zero of=/workspace/busy bs=64k count=64 2>/dev/null; do :; done; echo over")
            assert wait_until(lambda: (faulty.folder / "busy").exists(), 30)
        kill_and_see_it_replaced(home, victim)
        all_works(home, "faulty", faulty.folder)
        if busy is not None:
            assert busy.communicate(timeout=60)[0] == "over\n"
    after = home.json("status", "faulty")
    assert after["state"] == 1 and after["restarts"] == {
        victim: {"count": 1, "last_reason": "was killed by SIGKILL"} for victim in RESTARTED}
    # The same boot for everybody: no stage ran again, no new nonce, and the heart goes on beating.
    for name in ("boot_id", "nonce", "instance_id", "policy"):
        assert after[name] == before[name]
    log = status_log(home, "faulty")
    assert log.count("stage cloud-init: ok") == 1 and log.count("stage door: ok") == 1
    assert "stage workspace: ok" in log and "mounted again (1)" in log
    assert "guest: connected again, the same boot" in log
    beats = after["heartbeats"]
    assert wait_until(lambda: home.json("status", "faulty")["heartbeats"] > beats + 1, 30)
    shown = home.ok("status", "faulty").stdout
    assert re.search(r"vsockd +restarts: 1; the last time it was killed by SIGKILL", shown)
    kinds = check_audit(home.vm_dir("faulty") / "audit/audit.jsonl")
    assert kinds["start"] == 2  # one for each life of the PEP
    home.ok("verify", "faulty", timeout=300)


def test_the_guard_and_virtiofsd_are_replaced_together(home, faulty):
    server = home.json("status", "faulty")["processes"]["virtiofsd"]
    kill_and_see_it_replaced(home, "fsguard", restarted="virtiofsd")
    assert home.json("status", "faulty")["processes"]["virtiofsd"] != server
    all_works(home, "faulty", faulty.folder)


def test_what_stops_is_told_of_and_left_alone(home, faulty):
    victims = (*RESTARTED, "fsguard", "qemu")
    pids = home.json("status", "faulty")["processes"]
    for victim in victims:
        os.kill(pids[victim], signal.SIGSTOP)
    try:
        assert wait_until(lambda: set(home.json("status", "faulty")["not_responding"]) == set(victims), 40)
        silent = home.json("status", "faulty")
        assert silent["state"] == 1 and silent["processes"] == pids
        assert re.search(r"qemu +not responding since \d{4}-", home.ok("status", "faulty").stdout)
    finally:
        for victim in victims:
            os.kill(pids[victim], signal.SIGCONT)
    assert wait_until(lambda: home.json("status", "faulty")["not_responding"] == {}, 20)
    log = status_log(home, "faulty")
    for victim in victims:
        assert re.search(rf"{victim}: not responding since \d{{4}}-", log) and f"{victim}: responding again" in log
    all_works(home, "faulty", faulty.folder)


def test_the_fourth_death_ends_the_vm_and_the_next_up_works(home, faulty):
    first = home.json("status", "faulty")
    for count in range(first["restarts"]["pep"]["count"] + 1, 5):
        os.kill(home.json("status", "faulty")["processes"]["pep"], signal.SIGKILL)
        if count < 4:
            assert wait_until(lambda: home.json("status", "faulty")["restarts"]["pep"]["count"] == count
                              and "pep" in home.json("status", "faulty")["processes"]
                              and door_works(home, "faulty"), 30)
    nothing_left(home, first["processes"].values(), "faulty-work")
    ended = home.json("status", "faulty")
    assert ended["state"] == 3
    assert ended["reason"] == "pep was killed by SIGKILL, after 3 restarts within 10 minutes"
    check_audit(home.vm_dir("faulty") / "audit/audit.jsonl")
    # At once, on the same disk.
    faulty()
    all_works(home, "faulty", faulty.folder)


def test_a_stopped_supervisor_hangs_nobody(home, faulty):
    pids = home.json("status", "faulty")["processes"]
    pid = pids["supervisor"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for command in (("status", "faulty"), ("ls",), ("down", "faulty"), ("exec", "faulty", "--", "true")):
            done = home.run(*command, timeout=20)
            assert done.returncode != 0, command
            said = done.stdout + done.stderr
            assert f"its supervisor (process {pid}) does not respond: it is stopped" in said
            assert f"kill -CONT {pid}" in said and f"kill -9 {pid}" in said
        assert json.loads(home.run("status", "faulty", "--json", timeout=20).stdout)["fix"]
    finally:
        os.kill(pid, signal.SIGCONT)
    # What `down` asked for waited in its queue.
    assert wait_until(lambda: not alive(pid), 150)
    nothing_left(home, pids.values(), "faulty-work")
    assert home.json("status", "faulty")["state"] == 0
    assert check_audit(home.vm_dir("faulty") / "audit/audit.jsonl")["seal"] >= 1
    home.check_logs()
    home.ok("rm", "faulty")


class SmallDisk:
    """A tmpfs that only the processes in a namespace of ours see, mounted by an ordinary user."""

    SIZE_MIB = 1200  # the least that `up` asks for, and what a boot writes

    def __init__(self, root: pathlib.Path):
        self.root = root
        root.mkdir()
        # One page and a handful of inodes: folders fit into tiny/, sockets do not.
        script = (f"mount -t tmpfs -o size={self.SIZE_MIB}m,mode=700 tmpfs {root} && mkdir {root}/tiny && "
                  f"mount -t tmpfs -o nr_inodes=4,mode=700 tmpfs {root}/tiny && echo mounted && exec cat")
        self.holder = subprocess.Popen(["unshare", "--user", "--map-current-user", "--mount", "--keep-caps", "sh", "-c", script],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "mounted\n"
        # Seen from outside: for filling it, and for looking at what is on it.
        self.seen = pathlib.Path(f"/proc/{self.holder.pid}/root") / str(root).lstrip("/")

    def command(self, *words):
        return ["nsenter", "--user", "--mount", "--preserve-credentials", "--target", str(self.holder.pid), "--", *words]

    def sh(self, script):
        return subprocess.run(self.command("sh", "-c", script), capture_output=True, text=True, timeout=60)

    def free_mib(self):
        return int(self.sh(f"df --output=avail -m {self.root} | tail -1").stdout)

    def fill(self, leave_mib):
        size = self.free_mib() - leave_mib
        self.sh(f"dd if=/dev/zero of={self.root}/filler bs=1M count={size + (8 if leave_mib == 0 else 0)} 2>/dev/null")

    def empty(self):
        self.sh(f"rm -f {self.root}/filler")

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)


class SmallHome(Home):
    def __init__(self, disk):
        self.disk = disk
        self.root = disk.root
        self.env = {"HOME": os.environ["HOME"], "USER": os.environ.get("USER", "user"), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        for name in ("state", "config", "run"):
            self.env[f"XDG_{name.upper()}_{'DIR' if name == 'run' else 'HOME'}"] = f"{disk.root}/{name}"
            disk.sh(f"mkdir -m 700 {disk.root}/{name}")
        self.env["XDG_RUNTIME_DIR"] = self.env.pop("XDG_RUN_DIR")

    def run(self, *args, timeout=60, env=None, cwd="/", input=None, text=True):
        return subprocess.run(self.disk.command(str(BIN / "pinhole"), *map(str, args)), env={**self.env, **(env or {})}, cwd=cwd,
                              timeout=timeout, input=input, stdin=subprocess.DEVNULL if input is None else None,
                              capture_output=True, text=text)

    def status_log(self, name):
        return self.disk.sh(f"cat {self.root}/state/pinhole/vms/{name}/status.log").stdout


@pytest.fixture(scope="module")
def small(home):
    disk = SmallDisk(home.root / "small")
    made = SmallHome(disk)
    yield made
    made.run("rm", "--force", "small", timeout=150)
    disk.close()


def test_a_full_runtime_folder_is_a_clear_error(small, policy):
    done = small.run("up", "small", "--boot", "efi", "--policy", policy, env={"XDG_RUNTIME_DIR": f"{small.root}/tiny"}, timeout=BOOT_SECONDS)
    assert done.returncode == 1
    assert f"{small.root}/tiny" in done.stderr and "No space left on device" in done.stderr, done.stderr
    assert processes_of("supervise\0small") == []


def guest_times(home, name):
    """How far the guest's clock and its time since its start are behind the host's clock."""
    uptime, clock = home.ok("exec", name, "--", "sh", "-c", "cut -d ' ' -f 1 /proc/uptime; date +%s.%N").stdout.split()
    now = time.time()
    return now - float(clock), now - float(uptime)


def test_a_full_disk_pauses_the_vm_and_space_lets_it_go_on(small, policy):
    small.up("small", "--policy", policy)
    assert door_works(small, "small")
    pids = small.json("status", "small")["processes"]
    begun = guest_times(small, "small")[1]
    # To the last byte, while the guest writes: either we see it first or QEMU does.
    busy = subprocess.Popen(small.disk.command(str(BIN / "pinhole"), "exec", "small", "--uid", "0", "--", "sh", "-c",
                                               "head -c 80000000 /dev/urandom | tee /root/file | sha256sum; sync; echo 3 > "
                                               "/proc/sys/vm/drop_caches; sha256sum < /root/file"),
                            env=small.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    small.disk.fill(leave_mib=0)
    assert wait_until(lambda: small.json("status", "small")["state"] == 2, 30)
    stood_since = time.monotonic()
    paused = small.json("status", "small")
    assert paused["reason"].startswith(f"no space left under {small.root}/state/pinhole/vms/small")
    assert paused["fix"] == "make 384.0 MiB free there; the VM goes on by itself"
    # What has to be written down now is lost; nobody dies of it.
    refused = small.exec("small", "true")
    assert refused.returncode == 125 and "is paused: no space left under" in refused.stderr
    os.kill(pids["pep"], signal.SIGKILL)  # started again without being able to write that down
    assert wait_until(lambda: small.json("status", "small")["processes"].get("pep", pids["pep"]) != pids["pep"], 20)
    assert small.json("status", "small")["state"] == 2
    stood_still = time.monotonic() - stood_since
    small.disk.empty()
    assert wait_until(lambda: small.json("status", "small")["state"] == 1, 60)
    assert wait_until(lambda: door_works(small, "small"), 30)
    # The guest noticed nothing, and lost nothing.
    written, read = busy.communicate(timeout=120)[0].splitlines()
    assert written == read
    # Its own time stood still; its clock follows the host's.
    assert guest_times(small, "small")[1] - begun > 0.8 * stood_still
    assert wait_until(lambda: abs(guest_times(small, "small")[0]) < 1.5, 60)
    after = small.json("status", "small")["processes"]
    assert {name: pid for name, pid in after.items() if name != "pep"} == {name: pid for name, pid in pids.items() if name != "pep"}
    assert "VM state: 1 (running): there is space again" in small.status_log("small")
    assert small.ok("down", "small", timeout=150).stdout.startswith("small: stopped\n")
    nothing_left(small, after.values(), f"{small.root}/")
    kept = small.root.parent / "small-audit.jsonl"
    kept.write_text(small.disk.sh(f"cat {small.root}/state/pinhole/vms/small/audit/audit.jsonl").stdout)
    assert check_audit(kept)["seal"] == 1


def test_a_door_that_cannot_write_its_audit_log_refuses_and_recovers(small, policy):
    log = f"{small.root}/door-audit.jsonl"
    door = f"{small.root}/door.sock"
    pep = subprocess.Popen(small.disk.command(str(BIN / "pinhole"), "pep", "--policy", f"user={policy}", "--listen", f"unix:{door}",
                                              "--audit", log, "--vm", "door", "--boot", "b"), env=small.env)
    try:
        def get():
            done = small.disk.sh(f"curl -sS -o /dev/null -w '%{{http_code}}' --unix-socket {door} http://origin.test/x "
                                 "-H 'Host: origin.test' --request-target http://origin.test/x")
            return done.stdout

        assert wait_until(lambda: get() == "200", 20)
        small.disk.fill(leave_mib=0)
        # The page that the log has already takes a few more records.
        assert wait_until(lambda: get() == "503", 20)
        assert get() == "503"
        small.disk.empty()
        assert get() == "200"
    finally:
        pep.terminate()
        pep.wait(10)
    kept = small.root.parent / "door-audit.jsonl"
    kept.write_text(small.disk.sh(f"cat {log}").stdout)
    kinds = check_audit(kept)
    assert kinds["seal"] == 1 and kinds["decision"] >= 2
