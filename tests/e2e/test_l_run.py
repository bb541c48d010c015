# SPDX-License-Identifier: Apache-2.0
"""`pinhole run`, `shell` and `forward`, as somebody who types them sees them."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

from conftest import BIN, BOOT_SECONDS, pattern, processes_of, wait_until


@pytest.fixture(scope="module")
def project(home):
    folder = home.root / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "hello.txt").write_text("from the host\n")
    return folder


@pytest.fixture
def run(home, project):
    def call(*words, flags=(), input=None, text=True, timeout=BOOT_SECONDS, cwd=project, env=None):
        return home.run("run", "--no-config", *flags, "--", *words, input=input, text=text, timeout=timeout, cwd=cwd, env=env)
    return call


def json_lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def nothing_is_left(home):
    return home.json("ls") == [] and wait_until(lambda: processes_of(str(home.root / "run")) == [], 5) and \
        list((home.root / "run/pinhole").glob("run-*")) == []


def test_the_commands_status_is_that_of_run(home, run):
    done = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert nothing_is_left(home)


def test_what_cannot_be_run_says_so(run):
    done = run("no-such-command")
    assert done.returncode == 127, done.stderr
    assert "no-such-command" in done.stderr


def test_the_folder_is_the_workspace_and_the_user_is_the_user(run, project):
    done = run("sh", "-c", "pwd; id -u; sudo -n id -u; cat hello.txt; echo made > new.txt; stat -c %u new.txt; hostname; "
                           "kill -TERM $$")
    assert done.stdout.split("\n")[:5] == ["/workspace", str(os.getuid()), "0", "from the host", str(os.getuid())], done
    assert done.returncode == 128 + 15
    assert (project / "new.txt").read_text() == "made\n"
    assert (project / "new.txt").stat().st_uid == os.getuid()


# A minute and more of emulation for a gibibyte: PINHOLE_PIPE_MIB=1024 where it is asked for.
PIPE_MIB = int(os.environ.get("PINHOLE_PIPE_MIB", "48"))


def test_bytes_go_through_exactly(home, project):
    command = subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--", "cat"], env=home.env, cwd=project,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    block = pattern(1 << 20)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def feed():
        with contextlib.suppress(BrokenPipeError), command.stdin as stdin:  # the status tells
            for number in range(PIPE_MIB):
                for part in (number.to_bytes(8, "little"), block[8:]):
                    sent.update(part)
                    stdin.write(part)
    feeding = threading.Thread(target=feed)
    feeding.start()
    while piece := command.stdout.read(1 << 20):
        got.update(piece)
    feeding.join()
    assert command.wait(BOOT_SECONDS) == 0, command.stderr.read()
    assert got.hexdigest() == sent.hexdigest()


def test_what_the_door_refused_is_told_with_the_flag_that_allows_it(home, run, policy, origin):
    script = "curl -sS -m 20 -o /dev/null -w '%{http_code}\\n' http://refused.example/; curl -sS -m 20 http://origin.test/hello"
    done = run("env", "-u", "http_proxy", "-u", "HTTP_PROXY", "-u", "https_proxy", "sh", "-c", script, flags=("--policy", policy))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "403\nhello from the origin\n", done
    assert re.search(r"1  refused\.example +denied_by_policy +--allow refused\.example", done.stderr), done.stderr
    # The log outlives the VM.
    kept = sorted((home.root / "state/pinhole/runs").iterdir(), key=lambda folder: folder.stat().st_mtime)[-1]
    records = json_lines(home.ok("audit", "query", kept.name, "--json"))
    assert any("refused.example" in json.dumps(record) for record in records if record.get("action") == "deny"), records


def test_flags_that_make_no_policy_start_nothing(home, run):
    done = run("true", flags=("--allow", "not a host!"))
    assert done.returncode in (2, 125), done.stderr
    assert "flags" in done.stderr
    assert nothing_is_left(home)


def test_two_at_the_same_time(home, project):
    both = [subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--", "sh", "-c", f"exit {status}"], env=home.env, cwd=project,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for status in (3, 4)]
    ended = [(*command.communicate(timeout=BOOT_SECONDS), command.returncode) for command in both]
    assert [status for _, _, status in ended] == [3, 4], ended
    assert nothing_is_left(home)


def test_asked_to_end_it_ends(home, project):
    command = subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--", "sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; read x"],
                               env=home.env, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert command.stdout.readline() == "up\n"
    command.send_signal(signal.SIGTERM)
    out, err = command.communicate(timeout=120)
    assert (out, command.returncode) == ("bye\n", 9), err
    assert nothing_is_left(home)


def test_time_that_is_up_ends_it(home, run):
    begun = time.monotonic()
    done = run("sh", "-c", "trap '' TERM; while :; do sleep 1000; done", flags=("--timeout", "1s"))
    assert done.returncode == 124, done
    assert time.monotonic() - begun < 120
    assert nothing_is_left(home)


@pytest.mark.parametrize("whom", ["run", "supervise", "exec", "qemu-system"])
def test_nothing_is_left_when_one_is_killed(home, project, whom):
    command = subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--", "sh", "-c", "echo x > killed.txt; echo up; cat"],
                               env=home.env, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout.readline() == b"up\n"
    if whom == "run":
        victim = command.pid
    else:
        vm = home.json("ls")[0]["name"]
        marks = {"supervise": f"supervise\0{vm}", "exec": f"exec\0{vm}", "qemu-system": f"-name\0{vm}"}
        victim = next(pid for pid in processes_of(marks[whom]))
    os.kill(victim, signal.SIGKILL)
    out, err = command.communicate(timeout=120)
    assert command.returncode != 0
    assert wait_until(lambda: processes_of(str(home.root / "run")) == [], 30)
    assert (project / "killed.txt").read_text() == "x\n"
    # The next one sweeps what a killed one could not.
    done = home.run("run", "--no-config", "--", "true", timeout=BOOT_SECONDS, cwd=project)
    assert done.returncode == 0, done.stderr
    assert nothing_is_left(home)


@pytest.fixture(scope="module")
def vm(home, project):
    home.ok("up", "desk", "--no-config", "--workspace", project, timeout=BOOT_SECONDS)
    yield "desk"
    home.run("rm", "--force", "desk", timeout=120)


class Tmux:
    """A real terminal that can be read."""

    count = 0

    def __init__(self, home, *words):
        Tmux.count += 1
        self.socket = str(home.root / f"tmux{Tmux.count}")
        command = " ".join([str(BIN / "pinhole"), *words])
        self.call("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30",
                  f"env -i {' '.join(f'{k}={v}' for k, v in home.env.items())} TERM=tmux-256color {command}; echo \"ended $?\"; cat")

    def call(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, *words], check=True, capture_output=True, text=True, timeout=20).stdout

    def screen(self, colours=False):
        return self.call("capture-pane", "-p", *(["-e"] if colours else []))

    def keys(self, *words):
        self.call("send-keys", *words)

    def expect(self, text, seconds=60):
        assert wait_until(lambda: re.search(text, self.screen(), re.M), seconds), self.screen()

    def is_sane(self):
        tty = self.call("display-message", "-p", "#{pane_tty}").strip()
        words = subprocess.run(["stty", "-F", tty, "-a"], check=True, capture_output=True, text=True, timeout=20).stdout.split()
        return {"icanon", "echo", "isig", "opost"} <= set(words)

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True)


@pytest.fixture
def terminal(home, vm):
    made = Tmux(home, "shell", vm)
    made.expect(r"\$ ?$", 60)
    yield made
    made.end()


def test_a_shell_in_a_terminal(terminal):
    assert not terminal.is_sane()  # raw: every key is the guest's
    terminal.keys("stty size; echo $TERM; pwd", "Enter")
    terminal.expect("^30 100\ntmux-256color\n/workspace$")
    terminal.keys("printf '\\033[31mred\\033[0m\\n'", "Enter")
    assert wait_until(lambda: "\x1b[31mred" in terminal.screen(colours=True), 30)
    terminal.call("resize-window", "-x", "120", "-y", "40")
    terminal.keys("stty size", "Enter")
    terminal.expect("^40 120$")
    # The program itself says that it runs: bash takes a Ctrl-C between fork and exec for its own, and
    # then reads a terminal that is its child's.
    terminal.keys("sh -c 'echo on $((1 + 1)); exec sleep 1000'", "Enter")
    terminal.expect("^on 2$")
    terminal.keys("C-c")
    terminal.expect(r"^\^C\n.*\$ ?$")  # keys before the prompt are thrown away with what was typed
    terminal.keys("echo status $?", "Enter")
    terminal.expect("^status 130$")
    terminal.keys("exit 5", "Enter")
    terminal.expect("^ended 5$")
    assert terminal.is_sane()


def test_an_editor_in_a_shell(terminal, project):
    terminal.keys("vi edited.txt", "Enter")
    terminal.expect("^~$")
    terminal.keys("iwritten in vi", "Escape", ":wq", "Enter")
    assert wait_until(lambda: (project / "edited.txt").exists(), 30), terminal.screen()
    assert wait_until(lambda: (project / "edited.txt").read_text() == "written in vi\n", 30)


def test_a_killed_shell_leaves_the_terminal_sane(terminal, vm):
    victims = processes_of(f"shell\0{vm}")
    os.kill(min(victims), signal.SIGKILL)
    terminal.expect("ended 137")
    assert wait_until(terminal.is_sane, 30)


def test_a_port_of_the_guest_on_the_hosts_loopback(home, vm):
    home.sh(vm, "cd /tmp && echo from the guest > index.html && "
                "(setsid python3 -m http.server 8000 --bind 127.0.0.1 >/dev/null 2>&1 &)")
    command = subprocess.Popen([str(BIN / "pinhole"), "forward", vm, "18480:8000", "18481:9"], env=home.env,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert "127.0.0.1:18480 leads to port 8000 of desk" in command.stderr.readline()

        def fetched():
            try:
                return urllib.request.urlopen("http://127.0.0.1:18480/index.html", timeout=20).read() == b"from the guest\n"
            except OSError:
                return False
        assert wait_until(fetched, 60)
        with socket.create_connection(("127.0.0.1", 18481), timeout=20) as nobody:  # listens there in the guest
            with pytest.raises(ConnectionResetError):  # no end that could pass for an answer's
                nobody.recv(1)
        notes = [record for record in json_lines(home.ok("audit", "tail", vm, "--lines", "1000", "--json")) if record.get("kind") == "note"]
        assert any("127.0.0.1:18480 -> guest port 8000" in json.dumps(note) for note in notes), notes
    finally:
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=20)
    assert command.returncode == 130


def test_files_go_in_and_come_out(home, vm, project, tmp_path):
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/data").write_bytes(pattern(3 << 20))
    (tree / "deep/link").symlink_to("er/data")
    os.utime(tree / "deep/er/data", (1_000_000_000, 1_000_000_000))
    home.ok("cp", tree, f"{vm}:/var/tmp/", timeout=120)
    assert home.sh(vm, "cd /var/tmp/tree/deep && stat -c '%s %Y %u' er/data && readlink link && sha256sum < er/data") == \
        f"{3 << 20} 1000000000 {os.getuid()}\ner/data\n{hashlib.sha256(pattern(3 << 20)).hexdigest()}  -\n"
    home.sh(vm, "ln -s /etc/passwd /var/tmp/tree/out; ln -s ../../../.. /var/tmp/tree/deep/up; mkfifo /var/tmp/tree/pipe")
    done = home.ok("cp", f"{vm}:/var/tmp/tree", tmp_path / "back", timeout=120)
    assert (tmp_path / "back/deep/er/data").read_bytes() == pattern(3 << 20)
    assert (tmp_path / "back/deep/link").readlink() == pathlib.Path("er/data")
    assert not any(os.path.lexists(tmp_path / "back" / name) for name in ("out", "deep/up", "pipe"))
    assert done.stderr.count("left out") == 3, done.stderr
    missing = home.run("cp", f"{vm}:/no/such", tmp_path / "x", timeout=60)
    assert missing.returncode == 1 and "/no/such" in missing.stderr


def test_fifty_at_once(home, vm):
    running = [subprocess.Popen([str(BIN / "pinhole"), "exec", vm, "--", "sh", "-c", f"read x; echo {i} $x"], env=home.env,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in range(50)]
    for i, command in enumerate(running):
        out, err = command.communicate("go\n", timeout=240)
        assert (out, command.returncode) == (f"{i} go\n", 0), err
