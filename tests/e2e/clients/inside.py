# SPDX-License-Identifier: Apache-2.0
"""The same origins and clients with a VM between them: no client is told of a proxy or of an authority."""
import dataclasses
import os
import pathlib
import shutil
import subprocess

from clients.lab import DENIED, HERE, ORIGIN, VALUE, Lab
from clients.matrix import curl, library, program, wget
from clients.streams import websocket
from clients.tools import apt, git, npm, pip
from conftest import BIN, BOOT_SECONDS

BIG = 8 << 20  # the processor is emulated
PROXY_VARIABLES = [name for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (proxy, proxy.upper())]
# Pure Python that an image does not have comes from the host.
VENDORED = [pathlib.Path("/usr/lib/python3/dist-packages") / name for name in ("websocket", "six.py")]


class Vm(Lab):
    """The folders of the clients are the workspace; in the guest they have the host's path too."""

    here = None

    def __init__(self, home, name, root, *up):
        self.home, self.name, self.up = home, name, up
        super().__init__(root, big=BIG)

    def start_door(self):
        self.write_policy()
        work = self.folder(".")
        self.here = self.folder("clients")
        shutil.copytree(HERE, self.here, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        self.home.ok("up", self.name, *self.up, "--boot", "direct", "--no-config", "--workspace", work, "--policy",
                     self.root / "policy.yaml", timeout=BOOT_SECONDS, env={"KEY": VALUE})
        for source in VENDORED:
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.here / source.name)
        self.home.sh(self.name, f"mkdir -p {self.root} && ln -s /workspace {work}")
        self.placeholder = self.home.sh(self.name, "printenv KEY").strip()
        self.ca, self.proxy, self.port = None, "", 0

    def told(self, *words):
        return ()

    def environment(self, more=None):
        return self.home.env

    def inside(self, words, cwd=None, env=None):
        env = [f"{name}={value}" for name, value in (env or {}).items() if value is not None]
        without = [word for name in PROXY_VARIABLES for word in ("-u", name)]
        return [str(word) for word in (BIN / "pinhole", "exec", self.name, "--no-terminal", "--uid", os.getuid(), "--gid", os.getgid(),
                                       "--cwd", cwd or self.folder("."), "--", "env", *without, *env, *words)]

    def audit(self):
        return self.home.ok("audit", "query", self.name, "--json").stdout

    def log(self):
        return (self.home.vm_dir(self.name) / "supervisor.log").read_text()

    def stop_door(self):
        self.home.check_logs()
        self.home.ok("rm", "--force", self.name, timeout=120)


def java(lab):
    """Compiled outside: an emulated compiler takes its time."""
    folder = lab.folder("java")
    subprocess.run(["javac", "-d", folder, HERE / "Fetch.java"], check=True, capture_output=True, timeout=120)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", folder, "Fetch", ORIGIN, f"{DENIED}/x", lab.placeholder, "none", 0], {}


def go(lab):
    binary = lab.folder("go") / "fetch"
    env = {"PATH": os.environ["PATH"], "GOCACHE": str(lab.root / "go-cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    subprocess.run(["go", "build", "-o", binary, HERE / "fetch.go"], env=env, check=True, capture_output=True, timeout=240)
    return [binary, ORIGIN, f"{DENIED}/x", lab.placeholder], {}


def node(lab):
    return ["node", lab.here / "global_fetch.js", ORIGIN, f"{DENIED}/x", lab.placeholder], {}


CLIENTS = [
    curl("--http1.1", "1.1"),
    curl("--http2", "2"),
    wget(),
    git(),
    dataclasses.replace(pip(), big="pip compares the index's SHA-256"),
    dataclasses.replace(npm(), big="npm compares the registry's SHA-512"),
    apt(),
    library("Python urllib", "urllib", "", "SSL_CERT_FILE"),
    library("Python requests", "requests", "", "REQUESTS_CA_BUNDLE"),
    program("Node's fetch", "", node),
    program("Java HttpClient", "", java, protocol="HTTP_2"),
    program("Go net/http", "", go, protocol="HTTP/2.0"),
    websocket("WebSocket (Python websocket-client)", "websocket-client", "", "WEBSOCKET_CLIENT_CA_BUNDLE"),
]
