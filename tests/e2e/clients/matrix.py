# SPDX-License-Identifier: Apache-2.0
"""The clients, each set up the way its own documentation says, and what each is seen to do through the door.

A cell is a function of the lab that fails or returns the words for its place in docs/clients.md; a string is a cell that cannot be, and
says why."""
import dataclasses
import hashlib
import json
import os
import subprocess
from typing import Callable, Union

from clients.lab import DENIED, HERE, ORIGIN, PLAIN, PYTHON, VALUE, sha256_of

COLUMNS = ("allowed", "denied, with the reason readable", "secret swapped", "100 MiB, byte-exact", "streaming")
Cell = Union[str, Callable[[object], str]]


@dataclasses.dataclass
class Client:
    name: str
    told_by: str
    allowed: Cell
    denied: Cell
    swapped: Cell
    big: Cell
    streaming: Cell

    def cells(self):
        return dict(zip(COLUMNS, (self.allowed, self.denied, self.swapped, self.big, self.streaming)))


def is_denied(text, where="default"):
    """The door's own words: problem+json with the code, the rule and what to do."""
    answer = json.loads(text)
    assert answer["code"] == "denied_by_policy" and answer["status"] == 403, answer
    assert answer["rule"].startswith(where), answer
    assert answer["fix"].startswith("pinhole policy explain"), answer


def is_swapped(text, lab):
    """The origin's digest is of the real value, and on the way back the placeholder stands in its place."""
    assert f"authorization: Bearer {lab.placeholder}\n" in text, text
    assert hashlib.sha256(f"Bearer {VALUE}".encode()).hexdigest() in text, text


def is_misplaced(text):
    assert json.loads(text)["code"] == "secret_blocked", text


# Programs that fill their whole row in one run.

def facts_of(name, command):
    """`command(lab)` is (words, environment) of a program that prints a line of JSON per cell; a function that looks one up."""
    runs = {}

    def fact(lab, cell):
        if lab not in runs:
            words, env = command(lab)
            done = lab.run(*words, env=env, cwd=lab.folder(name.replace(" ", "-").replace("/", "-")), timeout=180)
            runs[lab] = {line["cell"]: line for line in map(json.loads, done.stdout.splitlines())}, done.stderr
        facts, error = runs[lab]
        assert cell in facts, error
        assert "error" not in facts[cell], facts[cell]
        return facts[cell]
    return fact


def program(name, told_by, command, *, protocol=None):
    fact = facts_of(name, command)

    def allowed(lab):
        it = fact(lab, "allowed")
        assert (it["status"], it["body"]) == (200, "hello from the origin\n"), it
        assert protocol is None or it["protocol"] == protocol, it
        return "yes"

    def denied(lab):
        is_denied(fact(lab, "denied host")["body"])
        is_denied(fact(lab, "denied path")["body"], "policy.yaml:")
        return "yes"

    def swapped(lab):
        is_swapped(fact(lab, "swapped")["body"], lab)
        is_misplaced(fact(lab, "misplaced")["body"])
        return "yes"

    def big(lab):
        assert fact(lab, "big")["sha256"] == lab.big_sha
        return "yes"

    def streaming(lab):
        assert fact(lab, "events")["lines"] == ["data: first", "data: second"]
        told = json.loads(fact(lab, "upload")["body"])
        assert told["bytes"] == len("first\nsecond\n") and not told["length_known"], told
        return "events, upload of unknown length"

    return Client(name, told_by, allowed, denied, swapped, big, streaming)


def library(name, key, told_by, ca_variable, **kwargs):
    def command(lab):
        return [PYTHON, lab.here / "http_libraries.py", key, ORIGIN, f"{DENIED}/x", lab.placeholder], {ca_variable: lab.ca}
    return program(name, told_by, command, **kwargs)


def node(lab):
    # Debian's own Node looks in /usr/share/nodejs by itself; others are told.
    return ["node", lab.here / "fetch.js", ORIGIN, f"{DENIED}/x", lab.placeholder], {"NODE_EXTRA_CA_CERTS": lab.ca, "NODE_PATH": "/usr/share/nodejs"}


def java(lab):
    store = lab.root / "java.p12"
    lab.run("keytool", "-importcert", "-noprompt", "-alias", "pinhole", "-file", lab.ca, "-keystore", store, "-storepass", "changeit")
    trust = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    return ["java", "-XX:TieredStopAtLevel=1", *trust, HERE / "Fetch.java", ORIGIN, f"{DENIED}/x", lab.placeholder, "127.0.0.1", lab.port], {}


def go(lab):
    env = {"GOCACHE": lab.folder("go-cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    return ["go", "run", HERE / "fetch.go", ORIGIN, f"{DENIED}/x", lab.placeholder], {**env, "SSL_CERT_FILE": lab.ca}


# Command-line clients.

def released_by_first_line(lab, process, name):
    """The first event is here before the second is sent; the lines of both."""
    lines = []
    for line in process.stdout:
        if line.startswith(b"data:"):
            lines.append(line.decode().strip())
            lab.origin.flag("release", name).set()
    assert process.wait(60) == 0, process.stderr.read()
    assert lines == ["data: first", "data: second"], lines


def fed_in_two(lab, process, name, first=b"first\n", second=b"second\n"):
    """The second part of an upload is not there before the origin has the first; what the process then says."""
    process.stdin.write(first)
    process.stdin.flush()
    assert lab.origin.flag("arrived", name).wait(30), "the first part did not arrive alone"
    out, error = process.communicate(second, 60)
    assert process.returncode == 0, error
    told = json.loads(out.decode().splitlines()[-1])
    assert told["bytes"] == len("first\nsecond\n") and not told["length_known"], told


def is_resumed(lab, file, *words):
    """A download that was cut is whole again, and only the rest was sent."""
    kept = len(lab.big) - (4 << 20) - 7
    lab.origin.flag("resumed", kept).clear()
    os.truncate(file, kept)
    done = lab.run(*words)
    assert done.returncode == 0 and sha256_of(file) == lab.big_sha, done.stderr
    assert lab.origin.flag("resumed", kept).is_set()
    file.unlink()


def curl(version, protocol):
    def command(lab, *words):
        return ["curl", "-sS", version, *lab.told("--proxy", lab.proxy, "--cacert", lab.ca), *words]

    def get(lab, *words):
        return lab.run(*command(lab, *words)).stdout

    def allowed(lab):
        assert get(lab, "-w", "%{http_version}", f"{ORIGIN}/hello") == f"hello from the origin\n{protocol}"
        return "yes"

    def denied(lab):
        is_denied(get(lab, f"{DENIED}/x"))
        is_denied(get(lab, f"{ORIGIN}/forbidden/x"), "policy.yaml:")
        return "yes"

    def swapped(lab):
        is_swapped(get(lab, "-H", f"Authorization: Bearer {lab.placeholder}", f"{ORIGIN}/echo"), lab)
        assert get(lab, "-u", f"someone:{lab.placeholder}", f"{ORIGIN}/private/hello") == "hello from the origin\n"
        is_misplaced(get(lab, "-H", f"X-Other: {lab.placeholder}", f"{ORIGIN}/echo"))
        return "yes, also as `-u`"

    def big(lab):
        file = lab.folder("curl") / f"big{version}"
        got = lab.run(*command(lab, "-o", file, f"{ORIGIN}/big"))
        assert got.returncode == 0 and sha256_of(file) == lab.big_sha, got.stderr
        is_resumed(lab, file, *command(lab, "-C", "-", "-o", file, f"{PLAIN}/big"))
        return "yes, also resumed"

    def streaming(lab):
        name = f"curl{version}"
        released_by_first_line(lab, lab.popen(*command(lab, "-N", f"{ORIGIN}/events/{name}")), name)
        fed_in_two(lab, lab.popen(*command(lab, "-T", "-", f"{ORIGIN}/upload/{name}")), name)
        return "events, upload of unknown length"

    return Client(f"curl, HTTP/{protocol}", "`--proxy`, `--cacert`", allowed, denied, swapped, big, streaming)


def wget():
    def command(lab, *words):
        return ["wget", "-q", "-O-", "--content-on-error", *lab.told(f"--ca-certificate={lab.ca}"), *words]

    def get(lab, *words):
        return lab.run(*command(lab, *words)).stdout

    def allowed(lab):
        assert get(lab, f"{ORIGIN}/hello") == "hello from the origin\n"
        return "yes"

    def denied(lab):
        is_denied(get(lab, f"{DENIED}/x"))
        is_denied(get(lab, f"{ORIGIN}/forbidden/x"), "policy.yaml:")
        return "yes, with `--content-on-error`; else the status alone"

    def swapped(lab):
        is_swapped(get(lab, f"--header=Authorization: Bearer {lab.placeholder}", f"{ORIGIN}/echo"), lab)
        is_misplaced(get(lab, f"--header=X-Other: {lab.placeholder}", f"{ORIGIN}/echo"))
        return "yes"

    def big(lab):
        file = lab.folder("wget") / "big"
        words = ["wget", "-q", "-c", "-O", file, *lab.told(f"--ca-certificate={lab.ca}"), f"{PLAIN}/big"]
        got = lab.run(*words)
        assert got.returncode == 0 and sha256_of(file) == lab.big_sha, got.stderr
        is_resumed(lab, file, *words)
        return "yes, also resumed"

    def streaming(lab):
        released_by_first_line(lab, lab.popen(*command(lab, f"{ORIGIN}/events/wget")), "wget")
        return "events; it uploads only what has a length"

    return Client("wget", "`https_proxy`, `--ca-certificate`", allowed, denied, swapped, big, streaming)


def openssl():
    def command(lab, host):
        return ["openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", host,
                *(["-proxy", f"127.0.0.1:{lab.port}"] if lab.proxy else []), "-connect", f"{host}:443", "-servername", host, "-CAfile", lab.ca]

    def request(path, *headers, host="plain.test", method="GET"):
        return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""])

    def get(lab, path, *headers, host="plain.test"):
        head, _, body = lab.run(*command(lab, host), input=request(path, *headers, host=host)).stdout.partition("\n\n")
        return body

    def allowed(lab):
        assert get(lab, "/hello") == "hello from the origin\n"
        hello = lab.run(*(word for word in command(lab, "plain.test") if word != "-quiet"), "-alpn", "h2,http/1.1").stdout
        assert "ALPN protocol: h2" in hello and "Verify return code: 0 (ok)" in hello, hello
        return "yes"

    def denied(lab):
        is_denied(get(lab, "/x", host="denied.test"))
        is_denied(get(lab, "/forbidden/x", host="origin.test"), "policy.yaml:")
        return "yes"

    def swapped(lab):
        is_swapped(get(lab, "/echo", f"Authorization: Bearer {lab.placeholder}", host="origin.test"), lab)
        is_misplaced(get(lab, "/echo", f"X-Other: {lab.placeholder}", host="origin.test"))
        return "yes"

    def big(lab):
        file = lab.folder("openssl") / "big"
        with open(file, "wb") as out:
            subprocess.run(lab.inside(command(lab, "plain.test")), input=request("/big").encode(), stdout=out, stderr=subprocess.DEVNULL,
                           env=lab.environment(), timeout=120)
        head, _, body = file.read_bytes().partition(b"\r\n\r\n")
        file.unlink()
        assert body == lab.big
        return "yes"

    def streaming(lab):
        process = lab.popen(*command(lab, "plain.test"))
        process.stdin.write(request("/events/openssl").encode())
        process.stdin.flush()
        released_by_first_line(lab, process, "openssl")
        process = lab.popen(*command(lab, "plain.test"))
        head = request("/upload/openssl", "Transfer-Encoding: chunked", method="POST").encode()
        fed_in_two(lab, process, "openssl", head + b"6\r\nfirst\n\r\n", b"7\r\nsecond\n\r\n0\r\n\r\n")
        return "events, upload of unknown length"

    return Client("openssl s_client", "`-proxy`, `-CAfile`", allowed, denied, swapped, big, streaming)


HTTP_CLIENTS = [
    curl("--http1.1", "1.1"),
    curl("--http2", "2"),
    wget(),
    library("Python urllib", "urllib", "`https_proxy`, `SSL_CERT_FILE`", "SSL_CERT_FILE"),
    library("Python requests", "requests", "`https_proxy`, `REQUESTS_CA_BUNDLE`", "REQUESTS_CA_BUNDLE"),
    library("Python httpx, HTTP/1.1", "httpx", "`https_proxy`, `SSL_CERT_FILE`", "SSL_CERT_FILE"),
    library("Python httpx, HTTP/2", "httpx-http2", "`https_proxy`, `SSL_CERT_FILE`", "SSL_CERT_FILE"),
    library("Python aiohttp", "aiohttp", "`https_proxy` (`trust_env=True`), `SSL_CERT_FILE`", "SSL_CERT_FILE"),
    program("Node, undici ProxyAgent", "`ProxyAgent(https_proxy)`, `NODE_EXTRA_CA_CERTS`", node),
    program("Java HttpClient", "`ProxySelector.of`, `javax.net.ssl.trustStore`", java, protocol="HTTP_2"),
    program("Go net/http", "`HTTPS_PROXY`, `SSL_CERT_FILE`", go, protocol="HTTP/2.0"),
    openssl(),
]
