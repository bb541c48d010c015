# SPDX-License-Identifier: Apache-2.0
"""What the clients meet: origins under an authority of their own, package indexes below them, and a door that trusts that authority."""
import base64
import gzip
import hashlib
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import tarfile
import time
import zipfile

from captured import Namespace, inner_program
from clients.origin import Origin, pattern

HERE = pathlib.Path(__file__).parent
PYTHON = "/usr/bin/python3"
VALUE = "sk-live-0123456789abcdefghijklmnop"
BIG = 100 << 20
# No secret belongs to plain.test: what passes from there keeps its length and needs no look for echoes.
ORIGIN, PLAIN, DENIED = "https://origin.test", "https://plain.test", "https://denied.test"
SECRET_HOSTS = ("origin.test", "ws.test", "grpc.test")
HOSTS = (*SECRET_HOSTS, "plain.test")


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificates(root, hosts):
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=root, check=True, capture_output=True, timeout=60)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ",".join(f"DNS:{host}" for host in hosts)
    openssl("req", "-x509", *key, "-subj", "/CN=origin ca", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *key, "-subj", "/CN=origin.test", "-addext", f"subjectAltName={names}", "-keyout", "leaf.key", "-out", "leaf.csr")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
            "-copy_extensions", "copy", "-out", "leaf.pem")


class Lab:
    """With `captured`, the clients are in a guest's namespace and told of no proxy; what they are told besides stays the same."""

    here = HERE  # the clients' own programs, as the clients see them
    hosts = HOSTS

    def __init__(self, root: pathlib.Path, captured=False, big=BIG):
        self.root, self.namespace = root, None
        make_certificates(root, self.hosts)
        self.big = pattern(big)
        self.big_sha = hashlib.sha256(self.big).hexdigest()
        self.origin = Origin(root, root / "leaf.pem", root / "leaf.key", VALUE, self.big)
        self.streams = subprocess.Popen([PYTHON, HERE / "stream_origins.py", root / "leaf.pem", root / "leaf.key", str(big)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(root / "streams.log", "w"), text=True)
        self.ports = dict.fromkeys(self.hosts, self.origin.server_port)
        ports = json.loads(self.streams.stdout.readline())
        self.ports |= {"ws.test": ports["websocket"], "grpc.test": ports["grpc"]}
        self.start_door()
        if captured:
            (root / "guest").mkdir()
            self.namespace = Namespace(root / "guest", root / "door", [22, 80, 443], self.ca.read_text())
            self.proxy, self.port = "", 0

    def write_policy(self):
        lines = ["version: 1", "egress:", f"  allow: [{', '.join(self.hosts)}]",
                 "  deny: ['https://origin.test/forbidden/**', 'https://ws.test/forbidden/**', 'https://grpc.test/pinhole.Test/Forbidden']",
                 "internal:", *(f"  - {host}:443 -> 127.0.0.1:{port}" for host, port in self.ports.items()),
                 "ca:", *(f"  {host}: {self.root}/ca.pem" for host in self.hosts),
                 f"secrets: {{KEY: {{from: 'env:KEY', hosts: [{', '.join(SECRET_HOSTS)}]}}}}"]
        (self.root / "policy.yaml").write_text("\n".join(lines) + "\n")

    def start_door(self):
        root = self.root
        self.write_policy()
        (root / "authority").mkdir()
        pep = inner_program("pinhole-pep")
        subprocess.run([pep, "--create-authority", root / "authority", "--vm", "clients"], check=True, timeout=60)
        self.ca = root / "authority/ca.pem"
        ours, its = socket.socketpair()
        self.control = ours.makefile("rw")
        self.pep = subprocess.Popen(
            [pep, "--policy", f"user={root}/policy.yaml", "--listen", f"unix:{root}/door", "--audit", root / "audit.jsonl",
             "--authority", root / "authority", "--control-fd", str(its.fileno())], pass_fds=[its.fileno()],
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}, stderr=open(root / "pep.log", "w"))
        its.close()
        assert json.loads(self.control.readline())["event"] == "ready"
        self.control.write(json.dumps({"op": "secrets", "values": {"KEY": VALUE}}) + "\n")
        self.control.flush()
        while "placeholders" not in (reply := json.loads(self.control.readline())):
            pass
        self.placeholder = reply["placeholders"]["KEY"]
        # Clients can be told of a host and a port only.
        self.port = free_port()
        self.relay = subprocess.Popen(["socat", "-b", "65536", f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr,backlog=64",
                                       f"UNIX-CONNECT:{root}/door"])
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
        self.proxy = f"http://127.0.0.1:{self.port}"

    def told(self, *words):
        """What a client is told of the proxy and the authority."""
        return words

    def environment(self, more=None):
        """As in a VM: the proxy is in the environment. Each client adds where it looks for the authority."""
        proxy = {"https_proxy": self.proxy, "HTTPS_PROXY": self.proxy} if self.proxy else {}
        return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.root), "LANG": "C.UTF-8", **proxy,
                **{name: str(value) for name, value in (more or {}).items()}}

    def inside(self, words, cwd=None, env=None):
        """The command that runs `words` where the clients are; `env` is for where environment() does not reach."""
        enter = self.namespace.enter(cwd or self.root) if self.namespace else []
        return [*enter, *map(str, words)]

    def run(self, *words, env=None, cwd=None, input="", timeout=120):
        return subprocess.run(self.inside(words, cwd, env), env=self.environment(env), cwd=cwd or self.root, input=input,
                              capture_output=True, text=True, timeout=timeout)

    def popen(self, *words, env=None, cwd=None):
        return subprocess.Popen(self.inside(words, cwd, env), env=self.environment(env), cwd=cwd or self.root, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def folder(self, name):
        path = self.root / "work" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def audit(self):
        return (self.root / "audit.jsonl").read_text()

    def log(self):
        return (self.root / "pep.log").read_text()

    def stop_door(self):
        for process in (self.relay, self.pep):
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    def stop(self):
        if self.namespace:
            self.namespace.stop()
        self.streams.stdin.close()
        self.stop_door()
        self.streams.wait(20)
        self.origin.shutdown()


# Package indexes: a small package and one that holds `big`, as each ecosystem lays them out.

def python_index(lab):
    """PEP 503. Wheels are zip files with a dist-info folder (PEP 427)."""
    for name, data in (("pinhole_small", b"small\n"), ("pinhole_big", lab.big)):
        folder = lab.origin.www / "simple" / name.replace("_", "-")
        folder.mkdir(parents=True)
        wheel = folder / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}/__init__.py", "")
            archive.writestr(f"{name}/data", data)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{name}/data,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        (folder / "index.html").write_text(f'<!doctype html><a href="{wheel.name}#sha256={sha256_of(wheel)}">{wheel.name}</a>\n')


def npm_registry(lab):
    """The registry's package documents, at /npm and for holders of the secret at /private/npm; the tarball is asked for below the same."""
    for name, data in (("pinhole-small", b"small\n"), ("pinhole-big", lab.big)):
        tarball = io.BytesIO()
        with gzip.GzipFile(fileobj=tarball, mode="wb", compresslevel=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
            for path, content in (("package.json", json.dumps({"name": name, "version": "1.0.0"}).encode()), ("data", data)):
                member = tarfile.TarInfo(f"package/{path}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        for top in ("npm", "npm-private") if name == "pinhole-small" else ("npm",):
            folder = lab.origin.www / top / name
            (folder / "-").mkdir(parents=True)
            (folder / "-" / f"{name}-1.0.0.tgz").write_bytes(tarball.getvalue())
            url = f"{ORIGIN}/{'private/' if top == 'npm-private' else ''}{top}/{name}/-/{name}-1.0.0.tgz"
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.getvalue()).digest()).decode()
            version = {"name": name, "version": "1.0.0", "dist": {"tarball": url, "integrity": integrity}}
            (folder / "index.html").write_text(json.dumps({"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}))


def apt_repository(lab):
    """dists/stable with one component, and a Release that names the digest of its Packages."""
    top = lab.origin.www / "apt"
    index = top / "dists/stable/main/binary-amd64"
    index.mkdir(parents=True), (top / "pool").mkdir()
    stanzas = []
    for name, data in (("pinhole-small", b"small\n"), ("pinhole-big", lab.big)):
        tree = lab.root / "deb" / name
        (tree / "DEBIAN").mkdir(parents=True)
        tree.chmod(0o755), (tree / "DEBIAN").chmod(0o755)
        (tree / "data").write_bytes(data)
        control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: test <test@origin.test>\nDescription: a test\n"
        (tree / "DEBIAN/control").write_text(control)
        deb = top / "pool" / f"{name}_1.0_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb], check=True, capture_output=True, timeout=60)
        stanzas.append(f"{control}Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256_of(deb)}\n")
    packages = "\n".join(stanzas).encode()
    (index / "Packages").write_bytes(packages)
    (top / "dists/stable/Release").write_text(
        "Suite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n")


def git_repositories(lab):
    """sample.git takes pushes; big.git holds `big`, not compressed."""
    env = {"PATH": os.environ["PATH"], "HOME": str(lab.root), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words, **kwargs):
        more = ["-c", "core.compression=0", "-c", "init.defaultBranch=main", "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *more, *words], env=env, check=True, capture_output=True, timeout=120, **kwargs)
    for name, data in (("sample", b"content\n"), ("big", lab.big)):
        bare, work = lab.origin.repositories / f"{name}.git", lab.folder(f"git-{name}")
        git("init", "-q", "--bare", bare)
        git("config", "http.receivepack", "true", cwd=bare)
        git("config", "core.compression", "0", cwd=bare)
        git("init", "-q", work)
        (work / "data").write_bytes(data)
        git("add", "data", cwd=work)
        git("commit", "-q", "-m", "one", cwd=work)
        git("push", "-q", bare, "HEAD:main", cwd=work)
