# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest, as its root, in the place of the agent: on vsock port 441 (wire/frame.h), where it answers as the request's own
words ask it to: an exec's first word or its variable ATTACK, the last name of a path, a port. test_r_hostile_agent.py judges what the
host makes of it."""
import io
import json
import os
import signal
import socket
import struct
import sys
import tarfile
import threading

STDOUT, STDERR, REPLY, WINDOW, STDOUT_EOF = 4, 5, 6, 7, 10
FRAME = 64 * 1024
ENDED = {"v": 1, "op": "exec", "exit": 0}


def frame(kind, payload=b""):
    return struct.pack("<IB", len(payload), kind) + payload


def reply(**members):
    return frame(REPLY, json.dumps({"v": 1, **members}).encode())


def flood(peer, kind):
    block = frame(kind, b"y" * FRAME) * 8
    while True:
        peer.sendall(block)


def until_it_hangs_up(peer):
    while peer.recv(65536):
        pass


# Execs.

ESCAPES = "\x1b]0;owned\x07\x1b[2J"
EXEC = {
    "honest": frame(STDOUT, b"hello\n") + reply(op="exec", exit=3),
    "unknown-type": frame(99, b"x"),
    "host-type": frame(2, b"x"),
    "too-long": struct.pack("<IB", 0xFFFFFFFF, STDOUT) + b"x" * 1000,
    "a-little-too-long": struct.pack("<IB", FRAME + 1, STDOUT) + b"x" * 1000,
    "wrong-version": frame(REPLY, json.dumps({**ENDED, "v": 2}).encode()),
    "wrong-answer": reply(op="shutdown"),
    "no-json": frame(REPLY, b"\xff{" * 100),
    "deep-json": frame(REPLY, b"[" * FRAME),
    "exit-256": reply(op="exec", exit=256),
    "exit-negative": reply(op="exec", exit=-1),
    "exit-huge": frame(REPLY, b'{"v":1,"op":"exec","exit":18446744073709551617}'),
    "exit-and-signal": reply(op="exec", exit=0, signal=9),
    "signal-65": reply(op="exec", signal=65),
    "more-window-than-used": frame(WINDOW, struct.pack("<I", 0xFFFFFFFF)) * 2,
    "two-replies": reply(op="exec", exit=4) + reply(op="exec", exit=5) + frame(STDOUT, b"late"),
    "escapes": reply(op="error", code="failed", message=ESCAPES * 50),
    "random": os.urandom(FRAME),
    "nothing": b"",
}


def be_exec(peer, attack):
    if attack in ("flood", "flood-stderr"):
        flood(peer, STDOUT if attack == "flood" else STDERR)
    elif attack == "empty-frames":
        while True:
            peer.sendall(frame(STDOUT) * 4096)
    elif attack == "silent":
        until_it_hangs_up(peer)
    elif attack == "half":
        peer.sendall(EXEC["honest"][:-3])
        until_it_hangs_up(peer)
    elif attack == "deaf":
        threading.Event().wait(600)
    else:
        peer.sendall(EXEC[attack])


# Archives.

def member(name, kind=tarfile.REGTYPE, content=b"", **attributes):
    made = tarfile.TarInfo(name)
    made.type, made.mode = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in attributes.items():
        setattr(made, key, value)
    made.size = attributes.get("size", len(content))
    return made.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def folder(name):
    return member(name, tarfile.DIRTYPE)


END = bytes(1024)
ARCHIVES = {
    "honest": folder("honest") + member("honest/f", content=b"fine\n") + END,
    "up": folder("up") + member("up/../../escaped", content=b"x") + END,
    "up2": member("../escaped", content=b"x") + END,
    "absolute": folder("absolute") + member("/tmp/pinhole-escaped", content=b"x") + END,
    "other-top": folder("other-top") + member("escaped", content=b"x") + END,
    "link-out": folder("link-out") + member("link-out/l", tarfile.SYMTYPE, linkname="/tmp") +
    member("link-out/l/pinhole-escaped", content=b"x") + END,
    "link-up": folder("link-up") + member("link-up/l", tarfile.SYMTYPE, linkname="..") + member("link-up/l/escaped", content=b"x") + END,
    "link-inside": folder("link-inside") + folder("link-inside/d") + member("link-inside/l", tarfile.SYMTYPE, linkname="d") +
    member("link-inside/l/f", content=b"x") + END,
    "link-top": member("link-top", tarfile.SYMTYPE, linkname="..") + member("link-top/escaped", content=b"x") + END,
    "hard-out": folder("hard-out") + member("hard-out/h", tarfile.LNKTYPE, linkname="/etc/passwd") + END,
    "hard-beside": folder("hard-beside") + member("hard-beside/h", tarfile.LNKTYPE, linkname="hard-beside/../kept") + END,
    "hard-to-what-was-there": folder("hard-to-what-was-there") +
    member("hard-to-what-was-there/h", tarfile.LNKTYPE, linkname="hard-to-what-was-there/kept") + END,
    "huge": folder("huge") + member("huge/f", size=1 << 60) + b"x" * 512 + END,
    "negative": folder("negative") + member("negative/f", size=-1) + b"x" * 512 + END,
    "long-name": folder("long-name") + member("long-name/" + "n" * 300, content=b"x") + END,
    "deep": folder("deep") + b"".join(folder("deep" + "/d" * i) for i in range(1, 200)) + END,
    "cut": folder("cut") + member("cut/f", size=100_000) + b"x" * 10_000,
    "random": os.urandom(64 * 1024),
    "empty": b"",
    # What is merely left out, or left off.
    "devices": folder("devices") + b"".join(member(f"devices/{kind.decode()}", kind, devmajor=1, devminor=3)
                                            for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)) +
    member("devices/l", tarfile.SYMTYPE, linkname="/etc/shadow") + END,
    "setuid": folder("setuid") + member("setuid/f", content=b"x", mode=0o6755, uid=0, gid=0) + END,
}


def be_files(peer, attack):
    if attack == "endless":
        peer.sendall(frame(STDOUT, folder("endless") + member("endless/f", size=1 << 39)))
        flood(peer, STDOUT)
    if attack == "endless-header":
        whole = member("endless-header", tarfile.XHDTYPE, size=1 << 39)
        peer.sendall(frame(STDOUT, whole))
        flood(peer, STDOUT)
    if attack == "stalls":
        peer.sendall(frame(STDOUT, folder("stalls")))
        until_it_hangs_up(peer)
    source = io.BytesIO(ARCHIVES[attack])
    blocks = 0
    while block := source.read(FRAME):
        peer.sendall(frame(STDOUT, block))
        blocks += 1
    peer.sendall(reply(op="files", entries=blocks, bytes=1 << 50))


# Dials, by port.

def be_dial(peer, port):
    if port == 1:
        flood(peer, STDOUT)
    elif port == 2:
        peer.sendall(frame(STDOUT, b"first ") + frame(99))
    elif port == 3:
        peer.sendall(frame(STDOUT_EOF) * 10_000 + frame(STDOUT, b"more"))
    elif port == 4:
        until_it_hangs_up(peer)
    else:
        peer.sendall(frame(STDOUT, b"hello\n") + frame(STDOUT_EOF) + reply(op="dial"))


def serve(peer):
    with peer:
        try:
            head = peer.recv(5, socket.MSG_WAITALL)
            request = json.loads(peer.recv(struct.unpack("<IB", head)[0], socket.MSG_WAITALL))
            if request["op"] == "exec":
                attack = next((word[7:] for word in request.get("env", []) if word.startswith("ATTACK=")), request["argv"][0])
                if attack == "make-room":
                    os._exit(0)
                be_exec(peer, attack)
            elif request["op"] == "dial":
                be_dial(peer, request["port"])
            elif request["op"] == "read-files":
                be_files(peer, os.path.basename(request["path"]))
            elif request["op"] == "write-files":
                peer.sendall(frame(STDOUT, b"x"))
            # Nothing else is answered: neither status nor shutdown.
            else:
                until_it_hangs_up(peer)
            # What was said is read before the connection's end is seen.
            peer.shutdown(socket.SHUT_WR)
            until_it_hangs_up(peer)
        except (OSError, KeyError, ValueError, struct.error):
            pass


def take_over(agent):
    """The port is free from the agent's end to its next start."""
    try:
        with open("/sys/fs/cgroup/cgroup.procs", "w", encoding="ascii") as root:
            root.write(str(os.getpid()))
    except OSError:
        pass
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    os.kill(agent, signal.SIGKILL)
    while True:
        try:
            listener.bind((socket.VMADDR_CID_ANY, 441))
            break
        except OSError:
            pass
    listener.listen(64)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=serve, args=(peer,), daemon=True).start()


if __name__ == "__main__":
    if os.fork() == 0:
        os.setsid()
        for name in (0, 1, 2):
            os.dup2(os.open("/dev/null", os.O_RDWR), name)
        take_over(int(sys.argv[1]))
