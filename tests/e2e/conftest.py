# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: the command line, origin servers of their own, and one VM booted once."""
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

import small_disk

BIN = pathlib.Path(os.environ.get("PINHOLE_BIN", pathlib.Path(__file__).parents[2] / "build/release/bin"))
BOOT_SECONDS = 480


class Home:
    """A user's folders of this test run; images stay in the user's own store, where they are cached by content."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.env = {
            "HOME": os.environ["HOME"],
            "USER": os.environ.get("USER", "user"),
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CONFIG_HOME": str(root / "config"),
            "XDG_RUNTIME_DIR": str(root / "run"),
        }
        for name in ("state", "config", "run", "state/pinhole"):
            (root / name).mkdir(mode=0o700)

    def run(self, *args, timeout=60, env=None, cwd="/", input=None, text=True):
        return subprocess.run([str(BIN / "pinhole"), *map(str, args)], env={**self.env, **(env or {})}, cwd=cwd, timeout=timeout,
                              input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=text)

    def ok(self, *args, **kwargs):
        done = self.run(*args, **kwargs)
        assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args, **kwargs):
        return json.loads(self.ok(*args, "--json", **kwargs).stdout)

    def vm_dir(self, name):
        return self.root / "state/pinhole/vms" / name

    def exec(self, name, *command, timeout=120, uid=0, input=None, text=True):
        return self.run("exec", name, "--uid", uid, "--", *command, timeout=timeout, input=input, text=text)

    def sh(self, name, script, **kwargs):
        done = self.exec(name, "sh", "-c", script, **kwargs)
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def up(self, name, *args):
        """By firmware and cloud-init, the way with the most parts, unless `--boot` says otherwise."""
        way = () if "--boot" in args else ("--boot", "efi")
        return self.ok("up", name, *way, *args, timeout=BOOT_SECONDS)

    def check_logs(self):
        """What a sanitizer said of a process that nobody waits for stands in its VM's log."""
        for log in self.root.glob("state/pinhole/vms/*/supervisor.log"):
            text = log.read_text(errors="replace")
            for word in ("AddressSanitizer", "LeakSanitizer", "runtime error", "internal error"):
                assert word not in text, text

    def remove_all(self):
        self.check_logs()
        for vm in self.json("ls"):
            self.run("rm", "--force", vm["name"], timeout=120)


@pytest.fixture(scope="session")
def home():
    # Short, because a socket's path has at most 107 bytes.
    root = pathlib.Path(tempfile.mkdtemp(prefix="ph-", dir="/tmp"))
    made = Home(root)
    # Built here once, under its own time limit, so that no test's limit has to cover it.
    made.ok("image", "build", "base", timeout=900)
    yield made
    made.remove_all()
    shutil.rmtree(root)


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds):
    """Looks again until the condition holds; the deadline fails the test, it is never waited out."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.02)
    return True


def processes_of(marker):
    """Processes whose command line holds `marker`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker in (entry / "cmdline").read_text() and alive(entry.name):
                    found.append(int(entry.name))
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                pass
    return [pid for pid in found if pid != os.getpid()]


def pattern(size):
    """Bytes that are the same each time and nowhere periodic enough to hide a lost block."""
    out = bytearray()
    counter = 0
    while len(out) < size:
        out += hashlib.sha256(counter.to_bytes(8, "little")).digest() * 64
        counter += 1
    return bytes(out[:size])


class Origin:
    """An HTTP/1.1 origin on loopback that counts what reaches it."""

    BIG = 32 << 20

    def __init__(self):
        origin = self
        self.requests = []
        self.big = pattern(self.BIG)
        self.big_sha = hashlib.sha256(self.big).hexdigest()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, body, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                origin.requests.append(f"GET {self.path}")
                if self.path == "/redirect-out":
                    self.send_response(302)
                    self.send_header("Location", "http://elsewhere.example/")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path == "/cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"only this")
                    self.close_connection = True
                else:
                    self.answer(origin.big if self.path == "/big" else b"hello from the origin\n")

            def do_POST(self):
                origin.requests.append(f"POST {self.path}")
                digest = hashlib.sha256()
                left = int(self.headers.get("Content-Length", 0))
                while left > 0:
                    block = self.rfile.read(min(left, 65536))
                    if not block:
                        return
                    digest.update(block)
                    left -= len(block)
                self.answer(digest.hexdigest().encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="session")
def good_disk(tmp_path_factory):
    """A raw disk that preflight takes for a bootable one."""
    return small_disk.make(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="session")
def origin():
    made = Origin()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="session")
def policy(home, origin):
    path = home.root / "policy.yaml"
    path.write_text(f"""version: 1
egress:
  allow:
    - GET http://origin.test/**
    - POST http://origin.test/upload
    - http://localhost
    - http://169.254.169.254
internal:
  - origin.test:80 -> 127.0.0.1:{origin.port}
""")
    return path


@pytest.fixture(scope="session")
def workspace(home):
    path = home.root / "work"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def vm(home, policy, workspace):
    """The VM that most tests share; none of them may leave it otherwise than it was."""
    home.up("shared", "--workspace", workspace, "--policy", policy)
    return "shared"
