# SPDX-License-Identifier: Apache-2.0
"""`pinhole audit` on the log of a door that stands alone: no VM."""
import json
import os
import pathlib
import select
import signal
import socket
import subprocess

import pytest
from conftest import BIN, Home, wait_until

POLICY = "version: 1\negress:\n  allow:\n    - GET http://allowed.test/**\ninternal:\n  - allowed.test:80 -> 127.0.0.1:1\n"


class Door:
    def __init__(self, home, folder):
        self.home, self.path, self.log = home, folder / "door", folder / "audit/audit.jsonl"
        self.log.parent.mkdir()
        (folder / "policy.yaml").write_text(POLICY)
        self.folder, self.process = folder, None
        self.start()

    def start(self):
        self.process = subprocess.Popen([BIN / "pinhole-pep", "--policy", self.folder / "policy.yaml", "--listen", f"unix:{self.path}",
                                         "--audit", self.log, "--vm", "alone", "--boot", "b-1"], stderr=subprocess.DEVNULL)
        wait_until(self.path.exists, 20)

    def ask(self, method, url):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(20)
            peer.connect(str(self.path))
            host = url.split("/")[2]
            peer.sendall(f"{method} {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := peer.recv(65536):
                answer += piece
            return int(answer.split()[1])

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(20)
        self.path.unlink(missing_ok=True)

    def audit(self, *words, status=0):
        done = self.home.run("audit", words[0], "--file", self.log, *words[1:])
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def door(tmp_path):
    # A user's folders without the image that the other tests need.
    made = Door(Home(tmp_path), tmp_path)
    yield made
    if made.process.poll() is None:
        made.stop()


def test_records_are_shown_filtered_and_verified(door):
    assert door.ask("GET", "http://allowed.test/x?token=secret") == 502
    assert door.ask("POST", "http://allowed.test/x") == 403
    assert door.ask("GET", "http://b.denied.test/y") == 403
    door.stop()
    tail = door.audit("tail")
    assert "allow          GET http://allowed.test/x?token=*  (policy.yaml:4)" in tail
    assert "deny       403 GET http://b.denied.test/y  denied_by_policy  (default)" in tail
    assert "secret" not in tail
    assert len(door.audit("tail", "-n", "1").splitlines()) == 1
    hosts = [json.loads(line)["url"] for line in door.audit("query", "--host", "*.denied.test", "--json").splitlines()]
    assert hosts == ["http://b.denied.test/y"]
    assert len(door.audit("query", "--action", "deny", "--since", "10m", "--method", "POST").splitlines()) == 1
    assert door.audit("query", "--until", "2020-01-01") == ""
    assert "2020 is no time" in door.audit("query", "--since", "2020", status=2)

    whole = json.loads(door.audit("verify", "--json"))
    assert whole["ok"] and whole["sealed"] and whole["boots"] == 1 and whole["torn_bytes"] == 0
    assert "the chain is whole: " in door.audit("verify", "--head", whole["head"])
    other = whole["head"].split(":")[0] + ":" + "0" * 64
    assert "but the head that was kept says 0000" in door.audit("verify", "--head", other, status=1)


def test_what_is_wrong_with_a_log_is_named(door):
    door.ask("GET", "http://denied.test/")
    door.stop(signal.SIGKILL)
    with door.log.open("a") as log:
        log.write('{"v":1,"se')
    assert "a last line of 10 bytes without its end" in door.audit("verify")
    door.start()
    door.stop()
    assert "a half line of 10 bytes" in door.log.read_text()
    door.audit("verify")
    text = door.log.read_text()
    door.log.write_text(text.replace("denied.test", "danied.test"))
    assert f"the audit chain is broken: {door.log}: line 3: \"prev\" is " in door.audit("verify", status=1)


def test_a_log_is_followed_into_its_next_file(door):
    follow = subprocess.Popen([BIN / "pinhole", "audit", "tail", "--file", door.log, "-f", "-n", "0"], stdout=subprocess.PIPE,
                              env=door.home.env)
    try:
        seen = b""

        def shown(text):
            nonlocal seen
            if select.select([follow.stdout], [], [], 0.1)[0]:
                seen += os.read(follow.stdout.fileno(), 65536)
            return text.encode() in seen

        def ask_until_shown(url):
            assert wait_until(lambda: door.ask("GET", url) == 403 and shown(url), 20), seen

        ask_until_shown("http://one.test/")
        door.stop()
        pathlib.Path(door.log).rename(f"{door.log}.1")
        door.start()
        ask_until_shown("http://two.test/")
        door.stop()
        assert json.loads(door.audit("verify", "--json"))["files"] == 2
    finally:
        follow.kill()
        follow.wait()
