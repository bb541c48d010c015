# SPDX-License-Identifier: Apache-2.0
"""`pinhole pep` as any other tool's only exit: a loopback port, a token, secrets of its own. No VM."""
import base64
import http.server
import json
import re
import signal
import socket
import ssl
import subprocess
import threading

import pytest
from conftest import BIN, Home, wait_until

TOKEN = "a-token-of-24-characters"
VALUE = "the-real-value-0123456789"


class Origin:
    """Plain or over TLS; remembers each request's head."""

    def __init__(self, tls=None):
        self.heads = []
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                origin.heads.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                body = b"you sent " + self.headers.get("Authorization", "nothing").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Alone:
    """A folder with a policy, a token and an audit log, and `pinhole pep` on them."""

    def __init__(self, folder, policy):
        self.folder, self.home, self.process = folder, Home(folder), None
        self.log, self.audit_file = folder / "pep.log", folder / "audit/audit.jsonl"
        (folder / "audit").mkdir()
        (folder / "policy.yaml").write_text(policy)
        self.token = folder / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(TOKEN + "\n")

    def command(self, *words, listen="tcp:127.0.0.1:0"):
        return [BIN / "pinhole", "pep", "--policy", self.folder / "policy.yaml", "--listen", listen, "--audit", self.audit_file,
                "--token-file", self.token, *words]

    def start(self, *words, listen="tcp:127.0.0.1:0", env=None):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command(*words, listen=listen), stderr=log, env={**self.home.env, **(env or {})})
        assert wait_until(lambda: self.place() or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.log.read_text()
        self.port = int(self.place().rsplit(":", 1)[1])
        self.proxy = f"http://x:{TOKEN}@{self.place()}"
        return self

    def place(self):
        ready = re.search(r" ready on (\S+), policy sha256:", self.log.read_text())
        return ready and ready[1]

    def refusal(self, *words, listen="tcp:127.0.0.1:0"):
        """What a start that must fail says."""
        done = subprocess.run(self.command(*words, listen=listen), capture_output=True, text=True, timeout=30, env=self.home.env)
        assert done.returncode != 0 and not self.audit_file.exists(), done.stderr
        return done.stderr

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            assert self.process.wait(30) == (0 if how == signal.SIGTERM else -how)

    def curl(self, *words, proxy=None):
        done = subprocess.run(["curl", "-sS", "--max-time", "30", "--proxy", proxy or self.proxy, *map(str, words)], capture_output=True,
                              timeout=60, env={"PATH": "/usr/bin:/bin"})
        return (done.stdout + done.stderr).decode()

    def records(self):
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]


@pytest.fixture
def running():
    started = []
    yield started.append
    for alone in started:
        alone.stop()
        text = alone.log.read_text()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error", "internal error", TOKEN, VALUE):
            assert word not in text, text


def plain_policy(origin, more=""):
    return ("version: 1\negress:\n  allow:\n    - GET http://files.example.com/**\n" + more +
            f"internal:\n  - files.example.com:80 -> 127.0.0.1:{origin.port}\n")


def test_allowed_denied_and_asked_for_the_token(tmp_path, running):
    origin = Origin()
    alone = Alone(tmp_path, plain_policy(origin))
    running(alone)
    alone.start()
    assert alone.curl("http://files.example.com/hello") == "you sent nothing"
    denied = json.loads(alone.curl("-X", "DELETE", "http://files.example.com/hello"))
    assert (denied["status"], denied["code"]) == (403, "denied_by_policy")

    for proxy in (f"http://{alone.place()}", f"http://x:{TOKEN}x@{alone.place()}", f"http://{TOKEN}:x@{alone.place()}"):
        asked = alone.curl("-i", "http://files.example.com/hello", proxy=proxy)
        assert asked.startswith("HTTP/1.1 407 Proxy Authentication Required")
        assert '\nProxy-Authenticate: Basic realm="pinhole"\r\n' in asked
        assert "\nProxy-Status: pinhole; error=http_request_denied; code=proxy_authentication_required; " in asked
        problem = json.loads(asked.split("\r\n\r\n", 1)[1])
        assert problem["code"] == "proxy_authentication_required" and "--token-file" in problem["fix"]
    asked = alone.curl("https://files.example.com/", proxy=f"http://{alone.place()}")
    assert "CONNECT tunnel failed, response 407" in asked or "407 from proxy" in asked

    # A client that first asks, is told, and then shows it: over one connection.
    verbose = alone.curl("-v", "--proxy-anyauth", "http://files.example.com/twice")
    assert "< HTTP/1.1 407 " in verbose and verbose.startswith("you sent nothing")
    assert "Re-using existing connection" in verbose, verbose
    bearer = alone.curl("--proxy-header", f"Proxy-Authorization: Bearer {TOKEN}", "http://files.example.com/bearer",
                        proxy=f"http://{alone.place()}")
    assert bearer == "you sent nothing"

    alone.stop()
    assert [path for path, _ in origin.heads] == ["/hello", "/twice", "/bearer"]
    for _, headers in origin.heads:
        assert not [name for name in headers if name.startswith("proxy-")], headers
    text = alone.audit_file.read_text()
    assert TOKEN not in text and base64.b64encode(f"x:{TOKEN}".encode()).decode() not in text
    asked = [r for r in alone.records() if r.get("code") == "proxy_authentication_required"]
    assert len(asked) == 5 and all(r["status"] == 407 and "url" not in r for r in asked)
    alone.home.ok("audit", "verify", "--file", alone.audit_file)


def test_other_bytes_than_requests_are_refused(tmp_path, running):
    alone = Alone(tmp_path, plain_policy(Origin()))
    running(alone)
    alone.start()
    client = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), client, server_hostname="files.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    for first in (client.read(), b"\x05\x01\x00", b"SSH-2.0-x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", alone.port), 20) as peer:
            peer.sendall(first)
            peer.shutdown(socket.SHUT_WR)
            answer = peer.makefile("rb").read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
    # An interim address of the same door: what is well-formed still passes.
    assert alone.curl("http://files.example.com/x") == "you sent nothing"


def test_ipv6_loopback_and_a_unix_socket_take_a_token_too(tmp_path, running):
    origin = Origin()
    alone = Alone(tmp_path, plain_policy(origin))
    running(alone)
    alone.start(listen="tcp:[::1]:0")
    assert alone.place().startswith("[::1]:")
    assert alone.curl("http://files.example.com/six") == "you sent nothing"
    port = alone.port
    alone.stop(signal.SIGKILL)
    alone.start(listen=f"tcp:[::1]:{port}")  # the same port again, at once
    assert alone.curl("http://files.example.com/six") == "you sent nothing"
    alone.stop()

    door = tmp_path / "door"
    process = subprocess.Popen(alone.command(listen=f"unix:{door}"), stderr=subprocess.DEVNULL, env=alone.home.env)
    try:
        assert wait_until(door.exists, 20)
        for shown, status in ((b"", b"407"), (b"Proxy-Authorization: Bearer " + TOKEN.encode() + b"\r\n", b"200")):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(20)
                peer.connect(str(door))
                peer.sendall(b"GET http://files.example.com/u HTTP/1.1\r\nHost: files.example.com\r\n" + shown + b"\r\n")
                assert peer.recv(12) == b"HTTP/1.1 " + status
    finally:
        process.terminate()
        process.wait(20)


def test_what_cannot_be_started_is_named(tmp_path):
    alone = Alone(tmp_path, plain_policy(Origin()))
    for where in ("0.0.0.0:3128", "10.0.0.1:3128", "[::]:0"):
        assert f"--listen tcp:{where}: only 127.0.0.1 and [::1] are possible" in alone.refusal(listen=f"tcp:{where}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = "127.0.0.1:%d" % taken.getsockname()[1]
        done = subprocess.run(alone.command(listen=f"tcp:{place}"), capture_output=True, text=True, timeout=30, env=alone.home.env)
        assert done.returncode == 1 and f"cannot listen on {place}: Address already in use" in done.stderr
    alone.audit_file.unlink(missing_ok=True)
    alone.token.chmod(0o644)
    said = alone.refusal()
    assert "may be opened by others (mode 0644)" in said and "fix:  chmod 600 " in said
    alone.token.chmod(0o600)
    alone.token.write_text("too short\n")
    said = alone.refusal()
    assert "holds a token of 9 bytes, and needs 16" in said and "fix:  (umask 077; openssl rand -hex 24 > " in said
    alone.token.unlink()
    assert "cannot be opened: No such file or directory" in alone.refusal()
    done = subprocess.run([BIN / "pinhole", "pep", "--listen", "tcp:127.0.0.1:0", "--audit", tmp_path / "a"], capture_output=True,
                          text=True, timeout=30, env=alone.home.env)
    assert done.returncode == 2 and "--listen tcp: needs --token-file FILE" in done.stderr


def make_tls(folder, name):
    """An authority and a leaf for `name`; the server's context."""
    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test ca",
            "-keyout", "origin-ca.key", "-out", "origin-ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", "leaf.key", "-out",
            "leaf.csr")
    (folder / "leaf.ext").write_text(f"subjectAltName=DNS:{name}\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "origin-ca.pem", "-CAkey", "origin-ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "leaf.ext", "-out", "leaf.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    return context


def secret_policy(folder, origin, source):
    return (f"version: 1\negress:\n  allow:\n    - GET https://api.example.com/v1/**\nca:\n  api.example.com: {folder}/origin-ca.pem\n"
            f"internal:\n  - api.example.com:443 -> 127.0.0.1:{origin.port}\n"
            f"secrets:\n  API_KEY: {{from: \"{source}\", hosts: [api.example.com]}}\n")


@pytest.mark.parametrize("source", ["env", "file", "cmd"])
def test_tls_is_looked_into_and_a_secret_goes_in_and_not_back(tmp_path, running, source):
    origin = Origin(make_tls(tmp_path, "api.example.com"))
    (tmp_path / "value").write_text(VALUE + "\n")
    sources = {"env": "env:MY_KEY", "file": f"file:{tmp_path}/value", "cmd": f"cmd:cat {tmp_path}/value"}
    alone = Alone(tmp_path, secret_policy(tmp_path, origin, sources[source]))
    running(alone)
    authority = tmp_path / "authority"
    authority.mkdir(mode=0o700)
    subprocess.run([BIN / "pinhole", "pep", "--create-authority", authority, "--vm", "alone"], check=True, env=alone.home.env)
    placeholders = tmp_path / "placeholders.json"
    alone.start("--authority", authority, "--placeholders", placeholders, env={"MY_KEY": VALUE} if source == "env" else None)
    assert placeholders.stat().st_mode & 0o777 == 0o600
    names = json.loads(placeholders.read_text())
    assert list(names) == ["API_KEY"] and re.fullmatch(r"PINHOLE_[a-z2-7]{32}", names["API_KEY"])
    bearer = f"Authorization: Bearer {names['API_KEY']}"
    trusted = ("--cacert", authority / "ca.pem")
    answer = alone.curl(*trusted, "-H", bearer, "https://api.example.com/v1/models")
    assert answer == f"you sent Bearer {names['API_KEY']}"
    assert origin.heads[-1][1]["authorization"] == f"Bearer {VALUE}"
    denied = json.loads(alone.curl(*trusted, "-H", bearer, "https://api.example.com/v2/models"))
    assert denied["code"] == "denied_by_policy"
    blocked = json.loads(alone.curl(*trusted, "-H", f"X-Other: {names['API_KEY']}", "https://api.example.com/v1/models"))
    assert blocked["code"] == "secret_blocked"
    assert len(origin.heads) == 1
    alone.stop()
    text = alone.audit_file.read_text()
    assert VALUE not in text and TOKEN not in text and '"secrets":["API_KEY"]' in text
    assert [r["action"] for r in alone.records() if r["kind"] == "decision"].count("intercept") == 3
    alone.home.ok("audit", "verify", "--file", alone.audit_file)

    # Without its value the same request is refused, the placeholder is the same, and the rest goes on.
    if source == "env":
        alone.start("--authority", authority, "--placeholders", placeholders)
        assert json.loads(placeholders.read_text()) == names
        assert "the variable MY_KEY for the secret API_KEY is not set" in alone.log.read_text()
        missing = json.loads(alone.curl(*trusted, "-H", bearer, "https://api.example.com/v1/models"))
        assert missing["code"] == "secret_missing"
        assert alone.curl(*trusted, "https://api.example.com/v1/models") == "you sent nothing"


RATED = "    - {host: rated.example.com, methods: [GET], limits: {rate: 3/min}}\n"


@pytest.mark.parametrize("used_before", [True, False])
def test_a_rate_holds_over_a_kill(tmp_path, running, used_before):
    origin = Origin()
    policy = plain_policy(origin, RATED) + f"  - rated.example.com:80 -> 127.0.0.1:{origin.port}\n"
    alone = Alone(tmp_path, policy)
    running(alone)
    alone.start()

    def ask(host="rated.example.com"):
        answer = alone.curl("-i", f"http://{host}/x")
        return int(answer.split()[1]), answer

    if used_before:
        assert [ask()[0] for _ in range(3)] == [200, 200, 200]
        status, answer = ask()
        assert status == 429 and json.loads(answer.split("\r\n\r\n", 1)[1])["code"] == "rate_limited"
        assert 1 <= int(re.search(r"\nRetry-After: (\d+)\r\n", answer)[1]) <= 60
    else:
        assert ask("files.example.com")[0] == 200
    alone.stop(signal.SIGKILL)
    alone.start()
    status, answer = ask()
    assert status == (429 if used_before else 200)
    if used_before:
        assert 1 <= int(re.search(r"\nRetry-After: (\d+)\r\n", answer)[1]) <= 60
    assert ask("files.example.com")[0] == 200  # no limit of this rule's
    assert len([path for path, _ in origin.heads if path == "/x"]) == (4 if used_before else 3)
