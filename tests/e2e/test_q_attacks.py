# SPDX-License-Identifier: Apache-2.0
"""Ways out that the guest's root may try, one table: what comes of each, and what of its kind is allowed. Nothing gets out: a listener
on every address of the host hears nobody, a file beside the workspace is never read, and what the host would execute stays as it is.
The vsock device's own attacks are in test_d_hostile_guest.py, more of the guard in test_j_guard.py."""
import dataclasses
import os
import pathlib
import re
import socket
import stat
import subprocess
import threading
from typing import Callable

import pytest

INSIDE = pathlib.Path(__file__).with_name("attacks_inside.py")
CANARY = "what the guest must never read"
GREETING = b"HTTP/1.1 200 you got out\r\nContent-Length: 0\r\n\r\n"
SECRET = "value-that-stays-outside-1"
GUARDED = {".git/hooks/pre-commit": "#!/bin/sh\n", ".git/config": "[core]\n", ".vscode/tasks.json": "{}\n", ".envrc": "export A=1\n"}


class Trap:
    """Listens on every address of the host, by TCP and UDP, and remembers who came."""

    def __init__(self):
        self.heard = []
        self.tcp = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.udp.bind(("::", self.port))
        threading.Thread(target=self.accept, daemon=True).start()
        threading.Thread(target=self.receive, daemon=True).start()

    def accept(self):
        while True:
            connection, peer = self.tcp.accept()
            self.heard.append(("tcp", peer[0]))
            with connection:
                connection.sendall(GREETING)

    def receive(self):
        while True:
            _, peer = self.udp.recvfrom(2048)
            self.heard.append(("udp", peer[0]))
            self.udp.sendto(GREETING, peer)


def host_address():
    """The host's own address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("203.0.113.1", 9))
            return one.getsockname()[0]
        except OSError:
            return "192.0.2.77"  # nobody's


class Arena:
    vm = "arena"

    def __init__(self, home, origin):
        self.home, self.origin, self.trap = home, origin, Trap()
        self.top = home.root / "arena"
        self.work = self.top / "work"
        for name, text in GUARDED.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(text)
        (self.work / "README").write_text("hello\n")
        (self.top / "canary").write_text(CANARY)
        (self.work / "users-own-link").symlink_to("../canary")
        self.words = {"port": self.trap.port, "host": host_address(), "canary": self.top / "canary", "uid": os.getuid(),
                      "inode": (self.top / "canary").stat().st_ino, "parent": self.top.stat().st_ino, "top": self.top,
                      "tercas": SECRET[::-1], "yranac": CANARY[::-1], "me": "python3 /run/attacks.py"}

    def start(self):
        # A rule names each address: that they are not reached is not for want of one.
        (self.top / "policy.yaml").write_text(f"""version: 1
egress:
  allow:
    - GET http://origin.test/**
    - http://localhost:{self.trap.port}
    - http://127.0.0.1:{self.trap.port}
    - "http://[::1]:{self.trap.port}"
    - http://169.254.169.254
    - api.example.com
internal:
  - origin.test:80 -> 127.0.0.1:{self.origin.port}
secrets:
  KEY: {{from: "env:ARENA_KEY", hosts: [api.example.com], header: x-api-key, placeholder: sk-}}
""")
        up = self.home.run("up", self.vm, "--boot", "direct", "--no-config", "--no-markers", "--workspace", self.work, "--policy",
                           self.top / "policy.yaml", timeout=480, env={"ARENA_KEY": SECRET})
        assert up.returncode == 0, up.stderr
        done = self.home.exec(self.vm, "sh", "-c", "cat > /run/attacks.py", input=INSIDE.read_text())
        assert done.returncode == 0, done.stderr

    def inside(self, script):
        done = self.home.exec(self.vm, "sh", "-c", "exec 2>&1; cd /workspace; " + script.format(**self.words), timeout=100)
        return done.stdout

    def pid(self, name):
        return self.home.json("status", self.vm)["processes"][name]

    def guarded(self):
        return {name: (self.work / name).read_text() for name in GUARDED}


@pytest.fixture(scope="module")
def arena(home, origin):
    made = Arena(home, origin)
    made.start()
    yield made
    home.check_logs()
    home.ok("rm", "--force", made.vm, timeout=120)


@dataclasses.dataclass
class Row:
    name: str
    attempt: str  # a script that the guest's root runs in /workspace; {words} are Arena's
    refused: str  # what each line that it says is
    allowed: str  # what of the same kind works
    works: str
    after: Callable[[Arena], None] = lambda arena: None  # on the host


def no_device(arena):
    """What the machine hangs on has no network itself, whatever the guest makes of its own."""
    for name in ("qemu", "vsockd"):
        devices = pathlib.Path(f"/proc/{arena.pid(name)}/net/dev").read_text().splitlines()[2:]
        assert [line.split()[:2] for line in devices] == [["lo:", "0"]], devices


def no_bits(arena):
    """No file of the workspace is anything but the user's or a subordinate user's, without bits that lend rights."""
    for path in arena.work.rglob("*"):
        found = path.lstat()
        kind = stat.S_IFMT(found.st_mode)
        assert kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO), path
        assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID) and found.st_uid != 0, (path, oct(found.st_mode))
        assert "security.capability" not in os.listxattr(path, follow_symlinks=False), path


def same_outside(arena):
    assert sorted(path.name for path in arena.top.iterdir()) == ["canary", "policy.yaml", "work"]
    assert (arena.top / "canary").read_text() == CANARY and (arena.top / "canary").stat().st_nlink == 1


# Each spelling as a request, and one as a tunnel: what is in that is decided as well.
DOOR = """unset no_proxy NO_PROXY; for url in localhost:{port} 127.0.0.1:{port} 127.1:{port} 2130706433:{port} 0x7f000001:{port} 017700000001:{port} 0.0.0.0:{port} \
[::1]:{port} [::ffff:127.0.0.1]:{port} {host}:{port} 169.254.169.254 -p; do case $url in -p) way=-p url=127.0.0.1:{port};; esac; echo $url $(curl -gsS -m 20 -x 127.0.0.1:3128 $way -o /dev/null -w '%{{http_code}} %{{http_connect}}' http://$url/ 2>/dev/null)
done"""
LINK = "ln -sfn {0} leak; cat leak 2>&1; rm leak"
NO_SUCH = "cat: .*: No such file or directory"
OPEN = "{me} open_with_bits"
AGAIN = "mkdir -p /run/again; mount -t virtiofs workspace /run/again || exit; cd /run/again; "

TABLE = [
    # The network.
    Row("new interfaces", "{me} interfaces {host} {port} dummy veth macvlan tun",
        r"\w+ made; tcp: (timed out|No route to host); udp: (timed out|No route to host); frame: (47 bytes sent|Network is down|No such .*)",
        "curl -sS http://origin.test/", "hello from the origin", no_device),
    Row("raw sockets", "{me} raw {port} {host} 8.8.8.8",
        r"frame .* 47 bytes sent|ping .* answered by this kernel|protocol 255 sent|protocol 132 (timed out|Connection refused)",
        "curl -sS http://origin.test/", "hello from the origin", no_device),
    Row("a network namespace without our routes",
        "unshare -n sh -c 'ip link set lo up; {me} tcp {host}:{port} 8.8.8.8:80; {me} udp {host}:{port}'", ".* Network is unreachable",
        "{me} tcp 192.0.2.9:80", r"192\.0\.2\.9:80 HTTP/1\.1 403 .*", no_device),
    Row("other vsock ports", "{me} vsock 2 0,1,22,80,439,441,443,1023,1024,2049,3128,65535,4294967294,4294967295", "2 Connection reset by peer all",
        "{me} vsock 2 440", r"2 HTTP/1\.1 403 Forbidden.* all"),
    Row("other vsock CIDs", "{me} vsock 0,1,3,4,42,4294967294,4294967295 440,441,442,22",
        "([01]|4|42|4294967294|4294967295) Connection reset by peer all|3 No such device all",
        "{me} vsock 2 440,442", r"2 HTTP/1\.1 403 Forbidden.* 440|2 connected 442"),
    Row("vsock from the host's ports and in other ways", "{me} vsock_from_low_ports 441; {me} vsock_kinds 440 441 442",
        r"\d+ Connection reset by peer|\d+ SOCK_DGRAM No such device|\d+ SOCK_SEQPACKET Socket type not supported",
        "{me} vsock_from_low_ports 440", r"\d+ connected"),
    Row("the host's addresses, captured",
        "{me} tcp {host}:{port} {host}:80 {host}:443 {host}:22 10.0.2.2:80 169.254.169.254:80 [::ffff:{host}]:{port} [fd00::2]:80 [fe80::1]:80",
        r".* (HTTP/1\.1 (403|400) .*|Connection re(fused|set by peer)|Network is unreachable|Invalid argument|closed)",
        "curl -sS http://origin.test/", "hello from the origin"),
    Row("the guest's own loopback is not the host's", "{me} tcp 127.0.0.1:{port} 127.0.0.2:{port} [::1]:{port} 0.0.0.0:{port}",
        r".* (Connection refused|HTTP/1\.1 403 .*)", "{me} tcp 127.0.0.1:3128", r".* HTTP/1\.1 400 .*|.* HTTP/1\.1 403 .*"),
    Row("the host's addresses, asked of the door", DOOR, r"\S+ 40[03] (000|200)",
        "curl -sS -x 127.0.0.1:3128 http://origin.test/", "hello from the origin"),
    Row("UDP", "{me} udp {host}:{port} 127.0.0.1:{port} 8.8.8.8:53 224.0.0.251:5353 169.254.169.254:80 255.255.255.255:{port} [::1]:{port} [fd00::2]:{port}",
        ".* (Connection refused|timed out|Network is unreachable)", "getent hosts origin.test", r"\S+ +origin\.test"),
    # Files.
    Row("above the workspace", "cat /workspace/../canary /workspace/../work/README ../../canary {canary}; ls /workspace/.. | grep canary",
        NO_SUCH, "cat /workspace/../workspace/README", "hello", same_outside),
    Row("files by their number", "{me} handles /workspace {inode} {parent}", r"opened: (?!.*canary).*|no handles: .*", "{me} handles /run", "opened: .*attacks.py.*",
        same_outside),
    Row("symbolic links out", ";".join(LINK.replace("{0}", to) for to in ("{canary}", "../canary", "/proc/1/root{canary}", "../../../../../../..{canary}",
        "{top}/work/../canary")) + "; cat users-own-link", NO_SUCH,
        "ln -sfn README inner && cat inner; ln -sfn /etc/hostname outer && cat outer", "hello|arena", same_outside),
    Row("writes through links", "ln -sfn {top}/made leak; echo evil > leak; ln -sfn {canary} leak; echo evil > leak", "sh: .*: Directory nonexistent",
        "ln -sfn ../made leak; echo mine > leak; cat /made", "mine", same_outside),
    Row("hard links out", "ln /etc/passwd hard; ln -L users-own-link hard; ln {canary} hard; ln ../canary hard",
        "ln: .*: (Invalid cross-device link|No such file or directory)", "ln README hard && cat hard && rm hard", "hello", same_outside),
    Row("device files", "for what in 'c 1 1' 'c 1 3' 'c 10 232' 'b 8 0' 'b 254 0'; do mknod device $what; done; mknod -m 666 .git/device b 254 0",
        "mknod: .*: Operation not permitted", "mkfifo fifo && stat -c %F fifo && rm fifo", "fifo", no_bits),
    Row("setuid files", "cp /bin/true tool; chmod 4755 tool; chmod 2755 tool; chmod 6777 tool; mkdir -p folder; chmod 2777 folder; "
        "cp -p /usr/bin/sudo tool2; " + "; ".join(f"{OPEN} made{bits} 0{bits}" for bits in ("4755", "2755")) +
        "; stat -c %a tool tool2 made* 2>/dev/null; setcap cap_setuid+ep tool 2>&1; setfattr -n security.capability -v x tool 2>&1",
        r"chmod: .*: Operation not permitted|cp: .*: Operation not permitted|Operation not permitted|0o100[67][05][05]|7[05][05]|sh: .* not found|.*cap.*Operation not.*",
        "chmod 755 tool && ./tool && stat -c %a tool", "755", no_bits),
    Row("owners that are the host's root", "touch mine; chown 0:0 mine; chown 65534 mine; chown 4000000000 mine", "chown: .*: Invalid argument",
        "chown {uid}:{uid} mine && stat -c %u mine", r"\d+", no_bits),
    # What the host would execute.
    Row("writes to guarded files", "; ".join(f"echo evil >> {name}; echo evil > {name}; truncate -s 0 {name}; chmod 777 {name}; "
                                             f"touch -d 2001-01-01 {name}; rm -f {name}; ln -f README {name}; ln -sf README {name}; "
                                             f"echo x > x; mv -f x {name}; mount -o remount,rw /workspace; echo evil >> {name}" for name in GUARDED),
        ".*: (Read-only file system|Invalid cross-device link|Device or resource busy|Operation not permitted|Permission denied).*", "echo more >> README && tail -1 README", "more"),
    Row("new files in guarded folders", "echo x > .git/hooks/post-merge; mkdir .git/hooks/a; echo x > .vscode/settings.json",
        ".*: Read-only file system", "echo x > .git/description && cat .git/description", "x"),
    Row("renames of guarded folders", "for name in .git .git/hooks .vscode; do mv -T $name moved; rm -rf $name/../$name; mkdir -p other; {me} exchange $name other; done",
        ".*(Device or resource busy|Read-only file system|Invalid cross-device link).*", "mkdir -p a && {me} exchange a other && mv other b && rmdir a b && echo renamed", "done|renamed"),
    Row("the share mounted again", AGAIN + "; ".join(f"echo evil >> {name}" for name in GUARDED) + "; mv -T .git moved; cat ../canary users-own-link; "
        "mknod device c 1 3; cp /bin/true tool3; chmod 4755 tool3", r".*: (Read-only file system|Device or resource busy|Operation not permitted|"
        r"Permission denied|No such file or directory|Invalid argument|already mounted.*)|.*(dmesg|mount).*", "cat /workspace/README", "hello|more", no_bits),
    Row("other mounts over it", "mkdir -p /run/b /run/u /run/w /run/m; mount --bind /workspace/.git /run/b && echo evil >> /run/b/config; "
        "mount -o remount,bind,rw /run/b; echo evil >> /run/b/hooks/pre-commit; umount /run/b; "
        "mount -t overlay overlay -o lowerdir=/run/m,upperdir=/workspace,workdir=/run/w /run/m; mount --move .git /run/b",
        ".*(Read-only file system|wrong fs type|bad option|failed|not mounted|mount point|bad|invalid|dmesg|in use|helper).*",
        "mount --bind /workspace /run/m && cat /run/m/README; umount /run/m", "hello|more"),
    # The machine and what it knows.
    Row("the machine's memory and modules", "{me} memory '{yranac}'; head -c 4096 /dev/urandom > /run/evil.ko; insmod /run/evil.ko; cat /dev/port; "
        "ls /dev/kvm /dev/vfio /dev/vhost-net /sys/class/net/eth0; modprobe qemu_fw_cfg 2>&1 && cat /sys/firmware/qemu_fw_cfg/by_name/*/*/raw /sys/firmware/qemu_fw_cfg/by_name/*/raw | grep -c 'stays-outside'",
        "/dev/mem (refused|not there)|insmod: .*|cat: .*: No such file or directory|ls: .*: No such file or directory|modprobe: .*|0",
        "modprobe dummy && grep -c ^dummy /proc/modules", "1"),
    Row("the user's secret", "{me} hidden {tercas}", "found:", "env | grep ^KEY=; NEEDLE=in-a-haystack sleep 30 & {me} hidden kcatsyah-a-ni; kill $!",
        r"KEY=sk-PINHOLE_\w+|found: .*/proc/\d+/environ.*/mem.*"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_nothing_gets_out(arena, row):
    before = len(arena.origin.requests)
    said = arena.inside(row.attempt)
    lines = said.splitlines()
    assert lines and all(re.fullmatch(row.refused, line) for line in lines), [line for line in lines if not re.fullmatch(row.refused, line)] or said
    assert CANARY not in said and "you got out" not in said and SECRET not in said, said
    assert len(arena.origin.requests) == before
    lines = arena.inside(row.allowed).splitlines()
    assert lines and all(re.fullmatch(row.works, line) for line in lines), lines
    row.after(arena)
    same_outside(arena)
    assert arena.trap.heard == []
    assert arena.guarded() == GUARDED


def test_the_trap_hears_who_comes(arena):
    """All of the above would hold of one that is deaf."""
    address = host_address()
    for target in {"127.0.0.1", address} - {"192.0.2.77"}:
        with socket.create_connection((target, arena.trap.port), timeout=20) as one:
            assert one.makefile("rb").read() == GREETING
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(20)
            one.sendto(b"x", (target, arena.trap.port))
            assert one.recv(100) == GREETING
    assert {kind for kind, _ in arena.trap.heard} == {"tcp", "udp"}
    arena.trap.heard.clear()


def test_the_project_works_on(arena):
    """With all that was tried in it."""
    done = subprocess.run(["git", "-C", str(arena.work), "init", "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
