# SPDX-License-Identifier: Apache-2.0
"""Real clients through the door, each set up the way its own documentation says. Needs no VM.

The origin speaks TLS under a certificate authority of its own, which only the door trusts (`ca:`); the clients trust the door's.
docs/clients.md tells the results."""
import hashlib
import http.server
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import BIN

VALUE = "sk-live-0123456789abcdefghijklmnop"
BIG = 50 << 20
PYTHON = "/usr/bin/python3"


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True, timeout=60)


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        if self.path != "/echo":
            return super().do_GET()
        body = "\n".join(f"{name}: {value}" for name, value in self.headers.items()).encode()
        self.server.seen.append(self.headers.get("Authorization", ""))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Door:
    """pinhole-pep on its own, its socket also on a TCP port of loopback, since that is what clients can be told of."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        certificate = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *certificate, "-subj", "/CN=origin ca", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", cwd=root)
        openssl("req", *certificate, "-subj", "/CN=origin.test", "-addext", "subjectAltName=DNS:origin.test", "-keyout", "leaf.key",
                "-out", "leaf.csr", cwd=root)
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-copy_extensions", "copy", "-out", "leaf.pem", cwd=root)
        self.www = root / "www"
        self.www.mkdir()
        (self.www / "f").write_text("hello from the origin\n")
        self.origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(self.www)))
        self.origin.seen = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(root / "leaf.pem", root / "leaf.key")
        self.origin.socket = context.wrap_socket(self.origin.socket, server_side=True)
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        self.start()

    def start(self):
        root = self.root
        port = self.origin.server_port
        (root / "policy.yaml").write_text(
            "version: 1\n"
            "egress: {allow: ['GET,HEAD https://origin.test/**', 'GET,HEAD https://origin.test/']}\n"
            f"internal: ['origin.test:443 -> 127.0.0.1:{port}']\n"
            f"ca: {{origin.test: {root}/ca.pem}}\n"
            "secrets: {KEY: {from: 'env:KEY', hosts: [origin.test]}}\n")
        (root / "authority").mkdir()
        pep = BIN / "pinhole-pep"
        if not pep.exists():
            pep = BIN.parent / "libexec/pinhole/pinhole-pep"
        subprocess.run([pep, "--create-authority", root / "authority", "--vm", "clients"], check=True, timeout=60)
        self.ca = root / "authority/ca.pem"
        ours, its = socket.socketpair()
        self.control = ours.makefile("rw")
        self.pep = subprocess.Popen(
            [pep, "--policy", f"user={root}/policy.yaml", "--listen", f"unix:{root}/door", "--audit", root / "audit.jsonl",
             "--authority", root / "authority", "--control-fd", str(its.fileno())], pass_fds=[its.fileno()],
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        its.close()
        assert json.loads(self.control.readline())["event"] == "ready"
        self.control.write(json.dumps({"op": "secrets", "values": {"KEY": VALUE}}) + "\n")
        self.control.flush()
        while "placeholders" not in (reply := json.loads(self.control.readline())):
            pass
        self.placeholder = reply["placeholders"]["KEY"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.relay = subprocess.Popen(["socat", f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr", f"UNIX-CONNECT:{root}/door"])
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
        self.url = f"http://127.0.0.1:{self.port}"

    def run(self, *words, env=None, cwd=None, binary=False):
        base = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "LANG": "C.UTF-8", "https_proxy": self.url, "HTTPS_PROXY": self.url}
        return subprocess.run([str(w) for w in words], env={**base, **(env or {})}, cwd=cwd or self.root, capture_output=True, text=not binary,
                              timeout=180)

    def audit(self):
        return (self.root / "audit.jsonl").read_text()

    def stop(self):
        for process in (self.relay, self.pep):
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        self.origin.shutdown()


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    it = Door(tmp_path_factory.mktemp("clients"))
    yield it
    it.stop()
    # Nothing of what went on may have put the value where it does not belong.
    assert VALUE not in it.audit()


def curl(version):
    def get(door, url, header=None):
        more = ["-H", header] if header else []
        return door.run("curl", "-sS", version, "--proxy", door.url, "--cacert", door.ca, *more, url)
    return get


def wget(door, url, header=None):
    more = [f"--header={header}"] if header else []
    return door.run("wget", "-q", "-O-", "--content-on-error", f"--ca-certificate={door.ca}", *more, url)


def urllib(door, url, header=None):
    code = ("import sys, urllib.request as u, urllib.error\n"
            "r = u.Request(sys.argv[1])\n"
            "if len(sys.argv) > 2: r.add_header(*sys.argv[2].split(': ', 1))\n"
            "try: sys.stdout.write(u.urlopen(r).read().decode('latin-1'))\n"
            "except urllib.error.HTTPError as e: print(e.read().decode())\n")
    return door.run(PYTHON, "-c", code, url, *([header] if header else []), env={"SSL_CERT_FILE": str(door.ca)})


def requests(door, url, header=None):
    code = ("import sys, requests\n"
            "h = dict([sys.argv[2].split(': ', 1)]) if len(sys.argv) > 2 else {}\n"
            "print(requests.get(sys.argv[1], headers=h).text)\n")
    return door.run(PYTHON, "-c", code, url, *([header] if header else []), env={"REQUESTS_CA_BUNDLE": str(door.ca)})


CLIENTS = {"curl (HTTP/1.1)": curl("--http1.1"), "curl (HTTP/2)": curl("--http2"), "wget": wget, "Python urllib": urllib,
           "Python requests": requests}


@pytest.mark.parametrize("name", CLIENTS)
def test_client_is_allowed_denied_readably_and_has_its_secret_swapped(door, name):
    get = CLIENTS[name]
    assert "hello from the origin" in get(door, "https://origin.test/f").stdout
    for url in ("https://origin.test.example/", "https://denied.test/x"):
        answer = json.loads(get(door, url).stdout)
        assert answer["code"] == "denied_by_policy" and answer["rule"] == "default", answer
        assert "policy" in answer["fix"]
    echo = get(door, "https://origin.test/echo", f"Authorization: Bearer {door.placeholder}")
    assert f"Bearer {door.placeholder}" in echo.stdout, echo
    assert VALUE not in echo.stdout
    assert door.origin.seen[-1] == f"Bearer {VALUE}"
    blocked = json.loads(get(door, "https://origin.test/echo", f"X-Other: {door.placeholder}").stdout)
    assert blocked["code"] == "secret_blocked", blocked


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_large_file_is_whole_to_the_byte(door, version):
    big = door.www / "big"
    if not big.exists():
        big.write_bytes(os.urandom(BIG))
    got = door.run("curl", "-sS", version, "--proxy", door.url, "--cacert", door.ca, "https://origin.test/big", binary=True).stdout
    assert hashlib.sha256(got).digest() == hashlib.sha256(big.read_bytes()).digest()


def test_git_clones_over_https(door):
    work = door.root / "work"
    env = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_SSL_CAINFO": str(door.ca)}
    git = lambda *words, cwd=None: door.run("git", "-c", "user.name=a", "-c", "user.email=a@b", *words, cwd=cwd, env=env)
    git("init", "-q", work)
    (work / "file").write_text("content\n")
    git("add", "file", cwd=work)
    git("commit", "-q", "-m", "one", cwd=work)
    assert git("clone", "-q", "--bare", work, door.www / "repo.git").returncode == 0
    git("update-server-info", cwd=door.www / "repo.git")
    done = git("clone", "-q", "https://origin.test/repo.git", door.root / "copy")
    assert done.returncode == 0, done.stderr
    assert (door.root / "copy/file").read_text() == "content\n"
    refused = git("clone", "-q", "https://denied.test/repo.git", door.root / "none")
    assert refused.returncode != 0 and "403" in refused.stderr, refused.stderr


def test_openssl_sees_the_doors_certificate(door):
    done = subprocess.run(["openssl", "s_client", "-proxy", f"127.0.0.1:{door.port}", "-connect", "origin.test:443", "-CAfile", door.ca,
                           "-alpn", "h2,http/1.1"], input="", capture_output=True, text=True, timeout=60)
    assert "ALPN protocol: h2" in done.stdout and "Verify return code: 0 (ok)" in done.stdout, done.stdout


def test_without_the_doors_authority_nothing_is_sent(door):
    done = door.run("curl", "-sS", "--proxy", door.url, "https://origin.test/f")
    assert done.returncode == 60 and done.stdout == ""
    assert '"code":"tls_error"' in door.audit()
