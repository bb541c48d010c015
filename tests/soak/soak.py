# SPDX-License-Identifier: Apache-2.0
"""One VM under mixed load while its processes die and stop at random. What must hold at the end: no request that the
guest saw answered is missing from the audit log, the chain verifies, nothing has grown, nothing is left over."""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
from conftest import Home, Origin, alive, processes_of, wait_until  # noqa: E402

VM = "soak"
RESTARTED = ("pep", "vsockd", "virtiofsd")
MIB = 1 << 20


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def family(pid):
    """A process and its descendants: what is in a PID namespace has a parent that only waits."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(member for child in children for member in family(child))]


def holdings(pid):
    """Anonymous bytes and descriptors; of a hardened process others see only how large its table is."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        anonymous = int(re.search(r"RssAnon:\s+(\d+)", text)[1]) * 1024
        try:
            return anonymous, len(os.listdir(f"/proc/{pid}/fd"))
        except PermissionError:
            return anonymous, int(re.search(r"FDSize:\s+(\d+)", text)[1])
    except (OSError, TypeError):
        return None


class Soak:
    def __init__(self, minutes, seed):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ph-soak-", dir="/tmp"))
        self.home = Home(self.root)
        self.home.env["PINHOLE_SOAK_RESTARTS"] = "100000"
        if "XDG_DATA_HOME" in os.environ:
            self.home.env["XDG_DATA_HOME"] = os.environ["XDG_DATA_HOME"]
        self.origin = Origin()
        self.work = self.root / "work"
        self.work.mkdir()
        self.policy = self.root / "policy.yaml"
        self.policy.write_text("version: 1\negress:\n  allow:\n    - GET http://origin.test/**\n"
                               f"internal:\n  - origin.test:80 -> 127.0.0.1:{self.origin.port}\n")
        self.random = random.Random(seed)
        self.until = time.monotonic() + minutes * 60
        self.over = threading.Event()
        self.usable = threading.Event()  # cleared while the VM is started anew
        self.answered = []  # URLs for which the guest saw 200
        self.done = {"fetches": 0, "failed fetches": 0, "files": 0, "failed files": 0, "execs": 0, "failed execs": 0}
        self.faults = {}
        self.samples = []  # (minute, process, pid, anonymous bytes, descriptors)
        self.problems = []
        self.endings = []

    # The machine.

    def up(self):
        self.home.up(VM, "--workspace", self.work, "--policy", self.policy)
        self.usable.set()

    def status(self):
        done = self.home.run("status", VM, "--json", timeout=30)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return {}

    def bring_back(self, why):
        """After what ends a VM: nothing is left, and the next `up` works."""
        self.usable.clear()
        if not wait_until(lambda: self.status().get("state") in (0, 3), 100):
            self.problems.append(f"{why}: the VM did not end: {self.status()}")
            self.home.run("down", "--force", VM, timeout=150)
        self.endings.append(f"{why}: {self.status().get('reason')}")
        if not wait_until(lambda: processes_of("ph-soak-") == [], 15):
            self.problems.append(f"{why}: left over: {processes_of('ph-soak-')}")
        self.up()

    # The load.

    def load(self, work):
        number = 0
        while not self.over.is_set():
            if not self.usable.wait(0.5):
                continue
            number += 1
            try:
                work(number)
            except (subprocess.TimeoutExpired, OSError, AssertionError):
                pass  # counted as failed by the work itself
            self.over.wait(0.2)

    def fetch(self, number):
        url = "http://origin.test/" + ("big" if number % 20 == 0 else f"{number}-{os.urandom(4).hex()}")
        self.done["failed fetches"] += 1
        done = self.home.exec(VM, "/usr/lib/pinhole/pinhole-agent", "fetch", "-o", "/dev/null", "--timeout", "60", url, timeout=90)
        if done.returncode == 0 and "status=200 " in done.stdout + done.stderr:
            self.answered.append(url)
            self.done["fetches"] += 1
            self.done["failed fetches"] -= 1

    def file(self, number):
        word = os.urandom(16).hex()
        (self.work / f"from-host-{number}").write_text(word)
        self.done["failed files"] += 1
        script = (f"cat /workspace/from-host-{number} && rm /workspace/from-host-{number} && "
                  f"dd if=/dev/urandom of=/workspace/from-guest bs=64k count=64 2>/dev/null && sha256sum < /workspace/from-guest")
        done = self.home.exec(VM, "sh", "-c", script, timeout=90)
        if done.returncode != 0:
            return
        if not done.stdout.startswith(word):
            self.problems.append(f"the guest read something else from the workspace: {done.stdout[:100]!r}")
        theirs = done.stdout[len(word):].split()[0]
        ours = hashlib.sha256((self.work / "from-guest").read_bytes()).hexdigest()
        if theirs != ours:
            self.problems.append(f"the workspace's file differs: {theirs} in the guest, {ours} on the host")
        self.done["files"] += 1
        self.done["failed files"] -= 1

    def run_command(self, number):
        self.done["failed execs"] += 1
        done = self.home.exec(VM, "cat", input="x" * 1000 * (number % 200), timeout=60)
        if done.returncode == 0 and len(done.stdout) == 1000 * (number % 200):
            self.done["execs"] += 1
            self.done["failed execs"] -= 1

    # The faults.

    def hurt(self):
        ends_vm = time.monotonic() + 150
        while not self.over.is_set():
            self.over.wait(self.random.uniform(5, 15))
            status = self.status()
            if self.over.is_set() or status.get("state") != 1:
                if not self.over.is_set() and status.get("state") in (0, 3):
                    self.problems.append(f"the VM ended by itself: {status.get('reason')}")
                    self.bring_back("unexpected")
                continue
            pids = status["processes"]
            if time.monotonic() > ends_vm:
                self.kill_for_good(pids)
                ends_vm = time.monotonic() + 240
            elif self.random.random() < 0.7:
                self.kill_one(pids)
            else:
                self.stop_some(pids)

    def count(self, what):
        self.faults[what] = self.faults.get(what, 0) + 1

    def kill_one(self, pids):
        victim = self.random.choice(RESTARTED)
        if victim not in pids:
            return
        self.count(f"SIGKILL {victim}")
        os.kill(pids[victim], signal.SIGKILL)

        def back():
            now = self.status()
            return now.get("state") in (0, 3) or now.get("processes", {}).get(victim, pids[victim]) != pids[victim]

        if not wait_until(back, 100):
            self.problems.append(f"{victim} was not started again")

    def stop_some(self, pids):
        victims = self.random.sample(sorted(pids), self.random.randint(1, 2))
        for victim in victims:
            self.count(f"SIGSTOP {victim}")
            os.kill(pids[victim], signal.SIGSTOP)
        self.over.wait(self.random.uniform(1, 15))
        for victim in victims:
            if alive(pids[victim]):
                os.kill(pids[victim], signal.SIGCONT)

    def kill_for_good(self, pids):
        victim = self.random.choice(("qemu", "supervisor"))
        self.count(f"SIGKILL {victim}")
        self.usable.clear()
        os.kill(pids[victim], signal.SIGKILL)
        self.bring_back(f"SIGKILL {victim}")

    # The record.

    def sample(self, minute):
        for name, pid in self.status().get("processes", {}).items():
            # The supervisor's family is everybody.
            held = [holdings(member) for member in ([pid] if name == "supervisor" else family(pid))]
            held = [member for member in held if member]
            if held:
                self.samples.append((minute, name, pid, sum(m[0] for m in held), sum(m[1] for m in held)))
        shown = " ".join(f"{name}:{anonymous / MIB:.1f}M/{fds}" for at, name, _, anonymous, fds in self.samples if at == minute)
        say(f"minute {minute}: {shown} | {self.done}")

    def judge_growth(self):
        """Between the first third and the last: what a process of its kind has at most."""
        last = max((sample[0] for sample in self.samples), default=0)
        for name in sorted({sample[1] for sample in self.samples}):
            def most(column, low, high):
                return max((sample[column] for sample in self.samples if sample[1] == name and low <= sample[0] <= high), default=0)

            third = max(last // 3, 1)
            for what, column, room in (("anonymous memory", 3, 4 * MIB), ("descriptors", 4, 0)):
                before, after = most(column, 1, third), most(column, last - third + 1, last)
                say(f"{name}: {what} at most {before} in the first third, {after} in the last")
                if last >= 3 and before > 0 and after > before * 1.25 + room:
                    self.problems.append(f"{name}: {what} grew from {before} to {after}")

    def judge_audit(self):
        path = self.home.vm_dir(VM) / "audit/audit.jsonl"
        decided, previous = collections.Counter(), None
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            record = json.loads(line)
            if record["seq"] != number or (previous is not None and record["prev"] != hashlib.sha256(previous).hexdigest()):
                self.problems.append(f"the audit chain breaks at record {number}")
                break
            previous = line
            if record["kind"] == "decision" and record["action"] == "allow":
                decided[record["url"]] += 1
        lost = list((collections.Counter(self.answered) - decided).elements())
        say(f"audit: {number} records, {decided.total()} allowed, {len(self.answered)} answered, {len(lost)} lost")
        if lost:
            self.problems.append(f"answered and not in the audit log: {lost[:5]}")

    def run(self):
        self.home.ok("image", "build", "base", timeout=900)
        self.up()
        threads = [threading.Thread(target=self.load, args=(work,)) for work in (self.fetch, self.file, self.run_command)]
        threads.append(threading.Thread(target=self.hurt))
        for thread in threads:
            thread.start()
        started, minute = time.monotonic(), 0
        while time.monotonic() < self.until:
            self.over.wait(1)
            if time.monotonic() - started >= (minute + 1) * 60:
                minute += 1
                self.sample(minute)
        self.over.set()
        for thread in threads:
            thread.join(200)
        pids = self.status().get("processes", {})
        for pid in pids.values():
            if alive(pid):
                os.kill(pid, signal.SIGCONT)
        done = self.home.run("down", VM, timeout=150)
        if done.returncode != 0:
            self.problems.append(f"down: {done.stderr}")
        if not wait_until(lambda: processes_of("ph-soak-") == [], 15):
            self.problems.append(f"left over: {processes_of('ph-soak-')}")
        self.judge_growth()
        self.judge_audit()
        say(f"done: {self.done}")
        say(f"faults: {self.faults}")
        for ending in self.endings:
            say(f"ended: {ending}")
        # Load that never gets through would make every other number easy.
        for work in ("fetches", "files", "execs"):
            if self.done[work] < self.done[f"failed {work}"] or self.done[work] == 0:
                self.problems.append(f"too few {work} went well: {self.done}")
        try:
            self.home.check_logs()
        except AssertionError as error:
            self.problems.append(str(error)[-2000:])


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("minutes", nargs="?", type=float, default=20)
    words.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = words.parse_args()
    say(f"seed {given.seed}")
    soak = Soak(given.minutes, given.seed)
    try:
        soak.run()
    finally:
        soak.over.set()
        soak.usable.set()
        soak.home.run("rm", "--force", VM, timeout=150) if not soak.problems else soak.home.run("down", "--force", VM, timeout=150)
    for problem in soak.problems:
        say(f"PROBLEM: {problem}")
    if soak.problems:
        say(f"what is left is in {soak.root}")
        return 1
    shutil.rmtree(soak.root)
    say("all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
