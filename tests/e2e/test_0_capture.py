# SPDX-License-Identifier: Apache-2.0
"""Programs that know of no proxy, the agent that carries their connections, and the door: all but the VM (captured.py)."""
import json
import re
import socket
import subprocess

import pytest
from captured import Namespace, inner_program
from conftest import Home, wait_until
from test_0_alone import Origin, make_tls

PORTS = [22, 80, 443, 8080]


class Guest:
    def __init__(self, folder):
        self.folder, self.home = folder, Home(folder)
        self.plain, self.tls = Origin(), Origin(make_tls(folder, "ok.example"))
        for name in ("audit", "authority", "guest"):
            (folder / name).mkdir(mode=0o700)
        (folder / "policy.yaml").write_text(f"""version: 1
egress:
  allow:
    - GET http://ok.example/open/**
    - GET https://ok.example/open/**
    - http://ok.example:8080
    - 192.0.2.7
internal:
  - ok.example:80 -> 127.0.0.1:{self.plain.port}
  - ok.example:8080 -> 127.0.0.1:{self.plain.port}
  - ok.example:443 -> 127.0.0.1:{self.tls.port}
  - 192.0.2.7:80 -> 127.0.0.1:{self.plain.port}
ca: {{ok.example: {folder}/origin-ca.pem}}
""")
        pep = inner_program("pinhole-pep")
        subprocess.run([pep, "--create-authority", folder / "authority", "--vm", "captured"], check=True, timeout=60)
        self.ca = folder / "authority/ca.pem"
        self.log = (folder / "log").open("wb")
        self.door = subprocess.Popen([pep, "--policy", folder / "policy.yaml", "--listen", f"unix:{folder}/door", "--audit",
                                      folder / "audit/audit.jsonl", "--authority", folder / "authority", "--vm", "captured"],
                                     stderr=self.log)
        assert wait_until((folder / "door").exists, 20)
        self.namespace = Namespace(folder / "guest", folder / "door", PORTS, self.ca.read_text())

    def run(self, *command, env=None):
        return subprocess.run([*self.namespace.enter("/"), *map(str, command)], capture_output=True, text=True, timeout=60,
                              env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **(env or {})})

    def curl(self, *words):
        """What it says and the status."""
        done = self.run("curl", "-sS", "--max-time", "30", "--cacert", self.ca, "-w", "\n%{http_code}", *words)
        text, _, status = done.stdout.rpartition("\n")
        return text or done.stderr, int(status)

    def records(self, **members):
        """Decisions that have all these."""
        records = [json.loads(line) for line in (self.folder / "audit/audit.jsonl").read_text().splitlines()]
        return [r for r in records if r["kind"] == "decision" and all(r.get(k) == v for k, v in members.items())]

    def stop(self):
        self.namespace.stop()
        self.door.terminate()
        assert self.door.wait(20) == 0
        self.log.close()
        text = (self.folder / "log").read_text()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error", "internal error"):
            assert word not in text, text


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    made = Guest(tmp_path_factory.mktemp("captured"))
    yield made
    made.stop()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_each_request_is_decided_by_its_name_and_path(guest, scheme):
    assert guest.curl(f"{scheme}://ok.example/open/x") == ("you sent nothing", 200)
    text, status = guest.curl(f"{scheme}://ok.example/closed")
    assert (status, json.loads(text)["code"]) == (403, "denied_by_policy")
    assert json.loads(text)["fix"] == f"pinhole policy explain GET {scheme}://ok.example/closed"


@pytest.mark.parametrize("target", ["http://other.example/", "https://other.example/", "http://other.example:8080/"])
def test_a_refused_host_is_readable_and_has_one_record(guest, target):
    text, status = guest.curl(target)
    assert (status, json.loads(text)["detail"]) == (403, "no rule allows host other.example")
    assert len(guest.records(url=target)) == 1
    host, _, port = target.split("/")[2].partition(":")
    assert guest.records(method="CONNECT", url=f"{host}:{port or (443 if target.startswith('https') else 80)}") == []


def test_an_address_is_decided_as_an_address(guest):
    assert guest.curl("http://192.0.2.7/x") == ("you sent nothing", 200)
    assert guest.curl("http://192.0.2.8/x")[1] == 403
    # The name is allowed, the address that it is said on is not the name's.
    text, status = guest.curl("--resolve", "ok.example:80:192.0.2.8", "http://ok.example/open/x")
    assert (status, json.loads(text)["code"]) == (400, "invalid_request")


def test_the_program_is_named_as_the_guests_claim(guest):
    assert guest.curl("-H", 'Pinhole-Client: program="liar"', "http://ok.example/open/claimed")[1] == 200
    record, = guest.records(url="http://ok.example/open/claimed")
    assert record["claim"]["uid"] == 0 and record["claim"].get("program", "curl") == "curl"
    assert "pinhole-client" not in guest.plain.heads[-1][1]
    shown = guest.home.ok("audit", "query", "--file", guest.folder / "audit/audit.jsonl", "--host", "ok.example").stdout
    assert re.search(r"GET http://ok\.example/open/claimed .*  says it is .*uid 0", shown), shown


def test_ssh_is_refused_and_the_record_says_what_git_can_do(guest):
    with_rule = 'git config --global url."https://git.example/".insteadOf git@git.example:'
    done = guest.run("python3", "-c", "import socket; socket.create_connection(('git.example', 22)).recv(1)")
    assert "ConnectionResetError" in done.stderr or "ConnectionRefusedError" in done.stderr, done
    assert wait_until(lambda: guest.records(url="git.example:22"), 20)
    record, = guest.records(url="git.example:22")
    assert (record["action"], record["note"]) == ("deny", with_rule)
    over_https = guest.run("git", "-c", 'url.https://git.example/.insteadOf=git@git.example:', "ls-remote", "git@git.example:a.git",
                           env={"GIT_SSL_CAINFO": str(guest.ca), "GIT_TERMINAL_PROMPT": "0"})
    assert "error: 403" in over_https.stderr, over_https.stderr
    assert guest.records(method="GET", action="deny", url="https://git.example/a.git/info/refs?service=*")


def test_other_ports_and_udp_are_refused_at_once(guest):
    probe = ("import socket,sys\ns=socket.socket(socket.AF_INET,int(sys.argv[1]));s.settimeout(20)\n"
             "try:\n s.connect(('192.0.2.9',int(sys.argv[2])));s.send(b'x');s.recv(1)\n"
             "except OSError as e: print(type(e).__name__)")
    for kind, port in ((socket.SOCK_STREAM, 25), (socket.SOCK_DGRAM, 443)):
        assert guest.run("python3", "-c", probe, int(kind), port).stdout == "ConnectionRefusedError\n"
