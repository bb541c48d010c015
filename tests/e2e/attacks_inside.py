# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest, as its root: `python3 attacks_inside.py ATTEMPT WORDS…`. Says what came of it, one line for each try.
test_q_attacks.py puts it there and judges."""
import ctypes
import os
import pathlib
import socket
import struct
import subprocess
import sys

WAIT = 0.3
libc = ctypes.CDLL(None, use_errno=True)


def said(call):
    """What `call` returns, or the name of the error that it ends with."""
    try:
        return call()
    except OSError as error:
        return "timed out" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)


def tcp(address, port, device=None):
    """The first bytes that come back. Says something itself at first, as HTTP does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(WAIT if device else 10)
        if device:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        one.connect((address, int(port)))
        host = f"[{address}]" if ":" in address else address
        one.sendall(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        return one.recv(4096).split(b"\r\n")[0].decode() or "closed"


def udp(address, port, device=None, broadcast=False):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(WAIT)
        if device:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if broadcast:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.connect((address, int(port)))
        one.send(b"hello")
        return one.recv(100).decode()


def do_tcp(*targets):
    for target in targets:
        address, _, port = target.rpartition(":")
        print(target, said(lambda: tcp(address.strip("[]"), port)))


def do_udp(*targets):
    for target in targets:
        address, _, port = target.rpartition(":")
        print(target, said(lambda: udp(address.strip("[]"), port, broadcast=address.endswith("255"))))


INTERFACES = {"dummy": "type dummy", "veth": "type veth peer name a_peer", "macvlan": "link a_base type macvlan"}


def make_tun():
    os.makedirs("/dev/net", exist_ok=True)
    subprocess.run(["modprobe", "tun"], check=False)
    if not os.path.exists("/dev/net/tun"):
        os.mknod("/dev/net/tun", 0o20600, os.makedev(10, 200))
    subprocess.run(["ip", "tuntap", "add", "a_tun", "mode", "tap"], check=True, stderr=subprocess.DEVNULL)


def ip(words):
    return subprocess.run(["ip", *words.split()], stderr=subprocess.DEVNULL, check=False).returncode == 0


def do_interfaces(host, port, *kinds):
    """Makes an interface of each kind, leads the host's address over it, and tries it there."""
    network = ".".join(host.split(".")[:3])
    ip("link add a_base type dummy")
    ip("link set a_base up")
    for kind in kinds:
        name = f"a_{kind}"
        if kind == "tun":
            make_tun()
        elif not ip(f"link add {name} {INTERFACES[kind]}"):
            print(kind, "not made")
            continue
        ip(f"addr add {network}.77/24 dev {name}")
        ip(f"link set {name} up")
        ip(f"neigh replace {host} lladdr 02:fc:00:00:00:01 dev {name}")
        ip(f"route replace {host}/32 dev {name}")
        print(kind, "made;", "tcp:", said(lambda: tcp(host, port, name)) + ";", "udp:", said(lambda: udp(host, port, name)) + ";",
              "frame:", said(lambda: frame_out(name, host, port)))
        ip(f"link del {name}")
    ip("link del a_base")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def frame_out(device, host, port):
    """An Ethernet frame with a UDP datagram to the host, past every route."""
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 33, 1, 0, 64, 17, 0, socket.inet_aton("198.18.0.1"), socket.inet_aton(host))
    packet = packet[:10] + struct.pack("!H", checksum(packet)) + packet[12:]
    packet += struct.pack("!HHHH", 4000, int(port), 13, 0) + b"hello"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind((device, 0))
        sent = one.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\0" + packet)
    return f"{sent} bytes sent"


def echo_request(host):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as one:
        one.settimeout(WAIT)
        body = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
        one.sendto(body[:2] + struct.pack("!H", checksum(body)) + body[4:], (host, 0))
        one.recv(100)
        # Every address is this machine's own: what answers is its own kernel.
        return "answered by this kernel"


def do_raw(port, *hosts):
    for host in hosts:
        print("frame", host, said(lambda: frame_out("lo", host, port)))
        print("ping", host, said(lambda: echo_request(host)))
    for kind, protocol in ((socket.SOCK_RAW, socket.IPPROTO_RAW), (socket.SOCK_STREAM, 132)):  # raw IP, SCTP
        def attempt():
            with socket.socket(socket.AF_INET, kind, protocol) as one:
                one.settimeout(WAIT)
                one.connect((hosts[0], int(port)))
                one.send(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20, 1, 0, 64, 17, 0, bytes(4), socket.inet_aton(hosts[0])))
                return "sent"
        print("protocol", protocol, said(attempt))


def vsock(cid, port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_VSOCK, kind) as one:
        one.settimeout(WAIT)
        one.connect((cid, port))
        if (cid, port) == (2, 440):
            one.sendall(b"GET http://nobody.example/ HTTP/1.1\r\nHost: nobody.example\r\n\r\n")
            return one.recv(100).split(b"\r\n")[0].decode()
        return "connected"


def do_vsock(cids, ports):
    for cid in cids.split(","):
        outcomes = {}
        for port in ports.split(","):
            outcomes.setdefault(said(lambda: vsock(int(cid), int(port))), []).append(port)
        for outcome, which in outcomes.items():
            print(cid, outcome, "all" if len(which) == len(ports.split(",")) else ",".join(which))


def do_vsock_kinds(*ports):
    for port in ports:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            print(port, kind.name, said(lambda: vsock(2, int(port), kind)))


def do_vsock_from_low_ports(port):
    """As if it were the host's own conversation: from the ports that are the host's to use."""
    for own in (440, 442, 1):
        def attempt():
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as one:
                one.settimeout(WAIT)
                one.bind((socket.VMADDR_CID_ANY, own))
                one.connect((2, int(port)))
                return "connected"
        print(own, said(attempt))


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def do_handles(folder, *inodes):
    """Files by number, past every name: what root can do on a file system of its own."""
    handle, mount = Handle(bytes=128), ctypes.c_int()
    if libc.name_to_handle_at(-100, folder.encode(), ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        print("no handles:", os.strerror(ctypes.get_errno()))
        return
    at = os.open(folder, os.O_RDONLY)
    whole = bytes(handle.data[:handle.bytes])
    names = set()
    for number in (0, 1, 2, *map(int, inodes)):
        for size in (4, 8):
            for place in range(0, len(whole) - size + 1, 4):
                made = bytearray(whole)
                made[place:place + size] = (number & (1 << 8 * size) - 1).to_bytes(size, "little")
                guess = Handle(bytes=handle.bytes, type=handle.type)
                ctypes.memmove(guess.data, bytes(made), len(made))
                fd = libc.open_by_handle_at(at, ctypes.byref(guess), os.O_RDONLY)
                if fd >= 0:
                    names.add(" ".join(sorted(os.listdir(fd))) if os.path.isdir(f"/proc/self/fd/{fd}") else os.read(fd, 100).decode())
                    os.close(fd)
    print("opened:", sorted(names))


def do_hidden(backwards):
    """Whether a value is anywhere that a program of the guest can look; told backwards, so that it is not there by this."""
    value = backwards[::-1].encode()
    where = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        if int(process.name) in (os.getpid(), os.getppid()):
            continue
        for name in ("environ", "cmdline"):
            if value in said_bytes(process / name):
                where.append(f"{process}/{name}")
        if value in memory_of(process):
            where.append(f"{process}/mem")
    for name in ("/proc/cmdline", "/proc/device-tree", "/sys/firmware/dmi/tables/DMI", "/workspace", "/run", "/etc", "/root", "/home"):
        for path in pathlib.Path(name).rglob("*") if os.path.isdir(name) else [pathlib.Path(name)]:
            if path.is_file() and not path.is_symlink() and value in said_bytes(path):
                where.append(str(path))
    if value in subprocess.run(["dmesg"], capture_output=True, check=False).stdout:
        where.append("dmesg")
    print("found:", *where)


def said_bytes(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def memory_of(process):
    found = b""
    try:
        with open(process / "mem", "rb", 0) as memory:
            for line in (process / "maps").read_text().splitlines():
                first, last = (int(number, 16) for number in line.split()[0].split("-"))
                if line.split()[1].startswith("rw") and last - first <= 64 << 20:
                    memory.seek(first)
                    found += memory.read(last - first) or b""
    except (OSError, ValueError, OverflowError):
        pass  # a kernel thread, or gone
    return found


def do_memory(needle_backwards):
    """What of the machine can be read as memory; none of it is the host's."""
    needle = needle_backwards[::-1].encode()

    def attempt():
        with open("/dev/mem", "rb", 0) as memory:
            for at in range(0, 1 << 20, 4096):
                memory.seek(at)
                if needle in (said(lambda: memory.read(4096)) or b""):
                    return "found"
        return "not there"
    try:
        print("/dev/mem", attempt())
    except TypeError:
        print("/dev/mem refused")


def do_open_with_bits(path, bits):
    """A setuid file in one step, with no chmod."""
    os.umask(0)

    def attempt():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, int(bits, 8)))
        return oct(os.stat(path).st_mode)
    print(said(attempt))


def do_exchange(one, other):
    print("done" if libc.renameat2(-100, one.encode(), -100, other.encode(), 2) == 0 else os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    globals()[f"do_{sys.argv[1]}"](*sys.argv[2:])
