# SPDX-License-Identifier: Apache-2.0
"""A guest that lies: in the place of its agent, one of its root's own (hostile_agent.py). Whatever it says, the host's commands end
with an error in bounded time and memory and write nothing but where they were told to; and an honest agent works before and after."""
import json
import os
import pathlib
import pty
import re
import signal
import socket
import stat
import subprocess
import termios
import time

import pytest

from conftest import BIN, wait_until

INSIDE = pathlib.Path(__file__).with_name("hostile_agent.py")
VM = "liar"
QUICK = 30  # seconds; a machine with other work takes its time
SANITIZED = b"__asan_init" in (BIN / "pinhole").read_bytes()
# A sanitizer keeps freed memory for a while, 256 MiB of it.
MOST_KIB = (400 if SANITIZED else 48) << 10


@pytest.fixture(scope="module")
def honest(home):
    """A VM whose agent is ours."""
    home.up(VM, "--boot", "direct", "--no-config", "--no-workspace")
    yield VM
    home.check_logs()
    home.ok("rm", "--force", VM, timeout=120)


@pytest.fixture(scope="module")
def liar(home, honest):
    """And then is not, until it makes room: the machine's first process starts ours again."""
    assert home.sh(honest, "echo before") == "before\n"
    home.sh(honest, "mkdir -p /a/honest; echo fine > /a/honest/f; chmod 644 /a/honest/f")
    done = home.exec(honest, "sh", "-c", "cat > /run/hostile.py", input=INSIDE.read_text())
    assert done.returncode == 0, done
    done = home.exec(honest, "sh", "-c", "python3 /run/hostile.py $PPID; sleep 60")
    assert (done.returncode, done.stderr) == (125, "pinhole: the guest's agent went away\n")
    assert wait_until(lambda: lied_to(home).returncode == 3, 60)
    yield honest
    assert home.exec(honest, "make-room").returncode == 125
    assert wait_until(lambda: home.exec(honest, "echo", "after").stdout == "after\n", 90)


def lied_to(home, attack="honest"):
    return home.run("exec", VM, "--", attack, timeout=QUICK)


def memory(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def start(home, *words, **kwargs):
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([str(BIN / "pinhole"), *map(str, words)], env=home.env, **{**streams, **kwargs})


LIES = {
    "unknown-type": "unknown frame type 99", "host-type": "broke the protocol", "too-long": "a frame of 4294967295 bytes is longer than 65536",
    "a-little-too-long": "a frame of 65537 bytes is longer than 65536", "wrong-version": "version 2 is newer than version 1",
    "wrong-answer": "gave another answer than asked for", "no-json": "not valid JSON", "deep-json": "too deep",
    "exit-256": '"exit" is more than 255', "exit-negative": '"exit" is not a whole number', "exit-huge": '"exit" is not a whole number',
    "exit-and-signal": "exactly one is needed", "signal-65": '"signal" is more than 64', "more-window-than-used": "broke the protocol",
    "random": "", "nothing": "went away",
}


@pytest.mark.parametrize("attack", LIES)
def test_what_is_no_answer_is_an_error(home, liar, attack):
    done = lied_to(home, attack)
    assert (done.returncode, done.stdout) == (125, ""), done
    assert LIES[attack] in done.stderr and done.stderr.count("\n") <= 2, done.stderr


def test_an_honest_answer_is_one(home, liar):
    done = lied_to(home)
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello\n", "")
    # The first one counts.
    done = lied_to(home, "two-replies")
    assert (done.returncode, done.stdout) == (4, "")


def test_no_escape_reaches_the_terminal_by_an_error(home, liar):
    done = lied_to(home, "escapes")
    assert done.returncode == 125 and "\x1b" not in done.stderr and "\\x1b]0;owned" in done.stderr


# A program may be silent, or talk, for as long as it likes: the user ends it, at once.
ENDLESS = ["flood", "flood-stderr", "empty-frames", "silent", "half", "deaf"]


@pytest.mark.parametrize("attack", ENDLESS)
def test_ctrl_c_twice_ends_what_never_ends(home, liar, attack):
    command = start(home, "exec", liar, "--", attack)
    assert not wait_until(lambda: command.poll() is not None, 2)
    assert memory(command) < MOST_KIB
    begun = time.monotonic()
    command.send_signal(signal.SIGINT)
    assert not wait_until(lambda: command.poll() is not None, 0.3)
    command.send_signal(signal.SIGINT)
    assert command.wait(QUICK) == 130 and time.monotonic() - begun < 10


def test_sigterm_is_passed_on_and_ends_it_in_time(home, liar):
    running = [(start(home, "exec", liar, "--", attack), number) for attack in ("flood", "silent", "half")
               for number in (signal.SIGTERM, signal.SIGHUP)]
    assert not wait_until(lambda: any(command.poll() is not None for command, _ in running), 2)
    for command, number in running:
        command.send_signal(number)
    for command, number in running:
        assert command.wait(QUICK) == 128 + number


# Archives.

REFUSED = {
    "up": "forbidden name", "up2": "forbidden name", "absolute": "forbidden name", "other-top": "beside other-top",
    "link-out": "without the folder that it is in", "link-up": "without the folder that it is in", "link-inside": "a link or file is in its way",
    "link-top": "without the folder that it is in", "hard-out": "hard link to something else", "hard-beside": "hard link to something else",
    "hard-to-what-was-there": "hard link to what it does not hold", "huge": "more than 1099511627776 bytes", "negative": "negative size",
    "long-name": "forbidden name", "deep": "forbidden name", "cut": "Truncated", "random": "cannot read the archive", "empty": "",
    "endless-header": "header too large",
}


@pytest.fixture
def target(tmp_path):
    """A folder with a file beside it and one in it, and who looks whether they are still all there is."""
    (tmp_path / "kept").write_text("mine\n")
    (tmp_path / "target/hard-to-what-was-there").mkdir(parents=True)
    (tmp_path / "target/hard-to-what-was-there/kept").write_text("mine\n")
    yield tmp_path / "target"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "target"]
    for path in (tmp_path / "kept", tmp_path / "target/hard-to-what-was-there/kept"):
        assert path.read_text() == "mine\n" and path.stat().st_nlink == 1
    assert not any(pathlib.Path(folder, name).exists() for folder in ("/tmp", "/") for name in ("pinhole-escaped", "escaped"))


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "hard-to" not in str(path))


@pytest.mark.parametrize("attack", REFUSED)
def test_a_bad_archive_is_an_error_and_stays_in_its_place(home, liar, target, attack):
    done = home.run("cp", f"{liar}:/a/{attack}", target, timeout=QUICK)
    assert done.returncode == 1 and REFUSED[attack] in done.stderr, done
    assert all(name.split("/")[0] == attack for name in below(target))
    assert not any(path.is_symlink() and path.name != "l" for path in target.rglob("*"))


def test_devices_and_rights_do_not_come_along(home, liar, target):
    done = home.ok("cp", f"{liar}:/a/devices", target, timeout=QUICK)
    assert done.stderr.count("left out") == 4 and below(target) == ["devices"], done
    home.ok("cp", f"{liar}:/a/setuid", target, timeout=QUICK)
    found = (target / "setuid/f").stat()
    assert (stat.S_IMODE(found.st_mode) & ~0o022, found.st_uid) == (0o755, os.getuid())
    home.ok("cp", f"{liar}:/a/honest", target, timeout=QUICK)
    assert (target / "honest/f").read_text() == "fine\n"


@pytest.mark.parametrize("attack", ["endless", "stalls"])
def test_a_copy_that_never_ends_is_ended_by_its_user(home, liar, target, attack):
    command = start(home, "cp", f"{liar}:/a/{attack}", target, start_new_session=True)
    assert not wait_until(lambda: command.poll() is not None, 2)
    running = children(command.pid)
    assert len(running) == 2 and memory(command) < MOST_KIB
    command.send_signal(signal.SIGTERM)
    command.wait(QUICK)
    assert wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in running), 20)


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# Ports.

def test_a_forwarded_port_survives_who_lies_behind_it(home, liar):
    ports = {18491: 1, 18492: 2, 18493: 3, 18494: 4, 18495: 5}
    command = start(home, "forward", liar, *(f"{here}:{there}" for here, there in ports.items()), stderr=subprocess.PIPE, text=True)
    try:
        for _ in ports:
            assert "leads to port" in command.stderr.readline()

        def ask(port, most):
            with socket.create_connection(("127.0.0.1", port), timeout=QUICK) as one:
                got = b""
                while len(got) < most and (block := one.recv(65536)):
                    got += block
                return got
        for port in (18492, 18493):
            with pytest.raises(ConnectionResetError):  # no end that could pass for an answer's
                got = ask(port, 1 << 20)
                assert got == b"", got  # after an end of its own there is nothing more
                raise ConnectionResetError
        with socket.create_connection(("127.0.0.1", 18491), timeout=QUICK) as nobody_reads:
            assert nobody_reads.recv(1) == b"y"
            assert ask(18491, 4 << 20)[:1] == b"y"  # as much as one asks for, and no more
            assert ask(18495, 100) == b"hello\n"
            with socket.create_connection(("127.0.0.1", 18494), timeout=QUICK) as silent:
                assert ask(18495, 100) == b"hello\n"
                silent.shutdown(socket.SHUT_WR)
            assert all(high_water(pid) < MOST_KIB for pid in [command.pid, *children(command.pid)])
    finally:
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=20)
    assert command.returncode == 130


def high_water(pid):
    try:
        return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])
    except (FileNotFoundError, TypeError):  # ended
        return 0


# A terminal.

@pytest.mark.parametrize("attack", ["nothing", "unknown-type", "flood", "silent"])
def test_a_shell_ends_and_leaves_the_terminal_sane(home, liar, attack):
    ours, theirs = pty.openpty()
    sane = termios.tcgetattr(theirs)
    command = start(home, "shell", liar, "--env", f"ATTACK={attack}", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.set_blocking(ours, False)

    def ended():
        """Reads what is shown, as a terminal does, and holds Ctrl-C down once it is raw."""
        try:
            while os.read(ours, 65536):
                pass
        except BlockingIOError:
            pass
        if not termios.tcgetattr(theirs)[3] & termios.ICANON and attack in ("flood", "silent"):
            os.write(ours, b"\x03")
        return command.poll() is not None
    assert wait_until(ended, QUICK)
    assert command.returncode == (130 if attack in ("flood", "silent") else 125)
    assert termios.tcgetattr(theirs) == sane
    for fd in (ours, theirs):
        os.close(fd)


# The machine as a whole.

def test_commands_that_ask_the_agent_end(home, liar):
    begun = time.monotonic()
    assert home.json("status", liar)["state"] in (0, 1, 2)
    assert json.loads(home.run("ls", "--json", timeout=QUICK).stdout)[0]["name"] == liar
    done = home.run("cp", INSIDE, f"{liar}:/tmp/", timeout=QUICK)
    assert done.returncode == 1 and "broke the protocol" in done.stderr, done
    assert time.monotonic() - begun < QUICK
