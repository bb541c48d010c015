# SPDX-License-Identifier: Apache-2.0
"""Who is killed or stopped, when, and what must hold afterwards: docs/faults.md as data, and one runner for it. test_v_kill_matrix.py runs
a few cells of it, scripts/soak all of them."""
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time

from conftest import BIN, alive, processes_of, wait_until

VICTIMS = ("supervisor", "qemu", "vsockd", "pep", "virtiofsd", "cli")
SIGNALS = ("KILL", "STOP")
STAGES = ("preflight", "firmware", "kernel", "cloud-init", "idle", "load", "stopping")
STARTING = ("preflight", "firmware", "kernel", "cloud-init")
BY_FIRMWARE = ("firmware", "cloud-init")  # the other stages are those of a direct boot as well, which takes a tenth of the time
RESTARTED = ("pep", "vsockd", "virtiofsd")
ORPHAN_SECONDS = 5
UP_SECONDS = 480


@dataclasses.dataclass(frozen=True)
class Cell:
    victim: str
    signal: str
    stage: str

    def __str__(self):
        return f"SIG{self.signal} {self.victim} at {self.stage}"


def all_cells():
    """Before the machine is started there is the command alone."""
    return [Cell(victim, sig, stage) for stage in STAGES for victim in VICTIMS for sig in SIGNALS if stage != "preflight" or victim == "cli"]


def choose(seed, count=12, by_firmware=2):
    """Others each day, and as many different victims and stages as fit."""
    dice = random.Random(seed)
    cells = all_cells()
    dice.shuffle(cells)
    chosen = []
    while len(chosen) < count:
        def often(cell):
            # A boot by firmware is slow; what was chosen least comes next.
            slow = sum(other.stage in BY_FIRMWARE for other in chosen) >= by_firmware
            return (cell.stage in BY_FIRMWARE and slow, sum(other.stage == cell.stage for other in chosen),
                    sum(other.victim == cell.victim for other in chosen), sum(other.signal == cell.signal for other in chosen))
        chosen.append(min((cell for cell in cells if cell not in chosen), key=often))
    return chosen


class Matrix:
    NAME = f"matrix-{os.getpid()}"  # processes are looked for by it

    def __init__(self, home, policy, seed, stopped_seconds=2.0, say=print):
        """`stopped_seconds`: how long a SIGSTOP lasts; beyond 11, that it is told of is looked at too."""
        self.home = home
        self.env = {**home.env, "PINHOLE_SOAK_RESTARTS": "100000"}
        self.policy = policy
        self.work = home.root / "matrix-work"
        self.work.mkdir(exist_ok=True)
        self.dice = random.Random(seed)
        self.stopped_seconds = stopped_seconds
        self.say = say
        self.log_begin = 0

    # What is there.

    def popen(self, *words):
        out = tempfile.TemporaryFile("w+")
        child = subprocess.Popen([str(BIN / "pinhole"), *map(str, words)], env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        child.said = lambda: (out.seek(0), out.read())[1]
        return child

    def record(self):
        try:
            written = json.loads((self.home.vm_dir(self.NAME) / "runtime.json").read_text())
        except (OSError, ValueError):
            return {}
        return {process["name"]: process["pid"] for process in written["processes"]}

    def new_log(self):
        """What status.log says of this boot."""
        try:
            return (self.home.vm_dir(self.NAME) / "status.log").read_bytes()[self.log_begin:].decode(errors="replace")
        except OSError:
            return ""

    def status(self):
        done = self.home.run("status", self.NAME, "--json", timeout=30)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def state(self):
        return self.status().get("state")

    def works(self):
        return self.home.run("exec", self.NAME, "--", "true", timeout=60).returncode == 0

    # How one gets there.

    def start(self, by_firmware=False):
        self.down()
        log = self.home.vm_dir(self.NAME) / "status.log"
        self.log_begin = log.stat().st_size if log.exists() else 0
        return self.popen("up", self.NAME, "--boot", "efi" if by_firmware else "direct", "--accel", "tcg", "--workspace", self.work,
                          "--policy", self.policy)

    def down(self):
        if self.home.run("down", "--force", self.NAME, timeout=150).returncode == 0:
            assert wait_until(lambda: processes_of(f"supervise\0{self.NAME}\0") == [], ORPHAN_SECONDS)

    def up(self):
        """The next start, whatever was before: green, and with nothing left over."""
        begun = time.monotonic()
        command = self.start()
        status = command.wait(UP_SECONDS)
        assert status == 0, f"the next up: {status}\n{command.said()}\n{self.new_log()}"
        assert self.state() == 1 and self.works()
        left = [one for one in self.home.json("gc", "--dry-run")["leftovers"] if one["name"] == self.NAME]
        assert left == [], left
        return time.monotonic() - begun

    def ensure_running(self):
        if self.state() != 1 or not self.works():
            self.up()

    def await_stage(self, stage, victim, command):
        """Until the start is there, and the victim with it."""
        def there():
            assert command.poll() is None, f"up has ended: {command.returncode}\n{command.said()}"
            found = self.record()
            if stage == "preflight":
                return "up" in found
            if "qemu" not in found or (victim != "cli" and victim not in found):
                return False
            return stage != "cloud-init" or "stage agent: ok" in self.new_log()

        assert wait_until(there, 240), f"{stage} was not reached\n{self.new_log()}"
        # A kernel of a direct boot is done within a second or two.
        time.sleep(self.dice.uniform(0, {"preflight": 0.05, "firmware": 1.0, "kernel": 0.5, "cloud-init": 2.0}[stage]))

    # What must hold.

    def gone(self, pids, what):
        begun = time.monotonic()
        assert wait_until(lambda: not any(alive(pid) for pid in pids.values()), ORPHAN_SECONDS), (
            f"{what}: still there: { {name: pid for name, pid in pids.items() if alive(pid)} }\n{self.new_log()}")
        assert wait_until(lambda: processes_of(f"supervise\0{self.NAME}\0") == [], ORPHAN_SECONDS)
        return time.monotonic() - begun

    def ended_as(self, states, words):
        now = self.status()
        assert now.get("state") in states and re.search(words, now.get("reason", "")), f"{now}\n{self.new_log()}"

    def run(self, cell):
        begun = time.monotonic()
        if cell.stage in STARTING:
            self.run_starting(cell)
        elif cell.stage == "stopping":
            self.run_stopping(cell)
        else:
            self.run_running(cell)
        if self.state() != 1:
            self.up()
        assert self.works()
        self.say(f"{cell}: held, {time.monotonic() - begun:.1f} s")

    def run_starting(self, cell):
        command = self.start(cell.stage in BY_FIRMWARE)
        self.await_stage(cell.stage, cell.victim, command)
        pids = {**self.record(), "cli": command.pid}
        victim = pids.get(cell.victim)
        if cell.signal == "STOP":
            self.stop_for_a_while(cell, victim, pids)
            assert command.wait(UP_SECONDS) == 0, f"{command.said()}\n{self.new_log()}"
            assert self.state() == 1
            return
        os.kill(victim, signal.SIGKILL)
        status = command.wait(ORPHAN_SECONDS + 10)
        if cell.victim in RESTARTED and status == 0:
            return  # it was up by then
        assert status == (-signal.SIGKILL if cell.victim == "cli" else 1), f"{status}\n{command.said()}"
        self.gone({**pids, **self.record()}, cell)
        if cell.stage == "preflight":
            assert self.state() in (0, 3) or not (self.home.vm_dir(self.NAME) / "plan.json").exists()  # the first one: there is no VM
        elif cell.victim == "cli":
            self.ended_as((0,), "the command that was starting it is gone")
        elif cell.victim == "supervisor":
            self.ended_as((0,), "ended without a word while it was starting")
        else:
            self.ended_as((3,), f"{cell.victim} was killed by SIGKILL")

    def run_running(self, cell):
        self.ensure_running()
        load = None
        if cell.stage == "load" or cell.victim == "cli":
            script = "echo begun > /workspace/begun; while :; do dd if=/dev/zero of=/workspace/busy bs=64k count=64 2>/dev/null; done"
            (self.work / "begun").unlink(missing_ok=True)
            load = self.popen("exec", self.NAME, "--", "sh", "-c", script if cell.stage == "load" else "echo > /workspace/begun; exec sleep 1000")
            assert wait_until((self.work / "begun").exists, 60), load.said()
        try:
            self.hurt_running(cell, load)
        finally:
            if load is not None and load.poll() is None:
                load.kill()
                load.wait(10)

    def hurt_running(self, cell, load):
        before = self.status()
        pids = dict(before["processes"])
        victim = load.pid if cell.victim == "cli" else pids[cell.victim]
        if cell.signal == "STOP":
            self.stop_for_a_while(cell, victim, pids)
            assert wait_until(lambda: self.state() == 1 and self.works(), 60), self.new_log()
            assert self.status()["processes"] == pids
            return
        os.kill(victim, signal.SIGKILL)
        if cell.victim == "cli":
            load.wait(ORPHAN_SECONDS)
            assert self.state() == 1 and self.works() and self.status()["processes"] == pids
        elif cell.victim in RESTARTED:
            old = before.get("restarts", {}).get(cell.victim, {}).get("count", 0)
            assert wait_until(lambda: self.status().get("restarts", {}).get(cell.victim, {}).get("count", 0) > old
                              and cell.victim in self.status().get("processes", {}), 60), self.new_log()
            assert wait_until(self.works, 60) and self.state() == 1
        else:
            self.gone(pids, cell)
            wait_until(lambda: self.state() in (0, 3), ORPHAN_SECONDS)
            words = "ended without a word while it was running" if cell.victim == "supervisor" else "qemu was killed by SIGKILL"
            self.ended_as((0,) if cell.victim == "supervisor" else (3,), words)

    def run_stopping(self, cell):
        self.ensure_running()
        pids = dict(self.status()["processes"])
        self.log_begin = (self.home.vm_dir(self.NAME) / "status.log").stat().st_size
        down = self.popen("down", self.NAME)
        assert wait_until(lambda: "(stopping)" in self.new_log(), 30)
        victim = down.pid if cell.victim == "cli" else pids[cell.victim]
        if cell.signal == "STOP":
            # What is stopped while all end is ended with them; but nobody is hung up by it.
            self.signal(victim, signal.SIGSTOP)
            time.sleep(self.stopped_seconds)
            self.signal(victim, signal.SIGCONT)
        else:
            self.signal(victim, signal.SIGKILL)
        if cell.victim == "supervisor" and cell.signal == "KILL":
            self.gone(pids, cell)
            self.ended_as((0,), "ended without a word while it was stopping|pinhole down|powered off|switched off|")
        assert wait_until(lambda: self.state() in (0, 3), 100), self.new_log()
        self.gone(pids, cell)
        down.wait(130)

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def stop_for_a_while(self, cell, victim, pids):
        """Told, never killed; and it goes on afterwards."""
        os.kill(victim, signal.SIGSTOP)
        begun = time.monotonic()
        try:
            if cell.victim == "supervisor":
                done = self.home.run("status", self.NAME, timeout=30)
                assert done.returncode == 1 and "does not respond: it is stopped" in done.stdout + done.stderr, done
            while time.monotonic() - begun < self.stopped_seconds:
                assert alive(victim), f"{cell}: killed\n{self.new_log()}"
                time.sleep(0.1)
            if self.stopped_seconds > 11 and cell.victim not in ("supervisor", "cli") and self.state() == 1:
                assert wait_until(lambda: cell.victim in self.status().get("not_responding", {}), 20), self.status()
            assert alive(victim) and all(alive(pid) for name, pid in pids.items() if name not in ("up", "cli")), self.new_log()
        finally:
            self.signal(victim, signal.SIGCONT)
