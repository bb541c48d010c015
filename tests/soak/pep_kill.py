#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a door that stands alone, at random moments under load. After each: every request that a client saw answered has
its record, no other answer goes out, the chain verifies, a half line is set aside at the next start, and that start works.
    pep_kill.py BIN [ROUNDS [SEED]]"""
import collections
import hashlib
import http.server
import json
import os
import pathlib
import random
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 16
MEAN_SECONDS = 0.08  # from a start to its kill
START_SECONDS = 30


class Origin(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), OriginHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """The door that was killed left its connections."""


class OriginHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1024")
        self.end_headers()
        self.wfile.write(b"x" * 1024)

    def log_message(self, *_):
        pass


class Client(threading.Thread):
    """Asks for one URL after the other until the door is gone; every third one is refused."""

    def __init__(self, door, name):
        super().__init__(daemon=True)
        self.door, self.label, self.answered, self.closing = door, name, [], False

    def run(self):
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(20)
                peer.connect(str(self.door))
                reader = peer.makefile("rb")
                for number in range(1_000_000):
                    host = "denied.test" if number % 3 == 2 else "origin.test"
                    # A path of its own: no two refusals are alike, so none is only counted.
                    url = f"http://{host}/{self.label}/{number}"
                    peer.sendall(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    status = self.read_answer(reader)
                    if status is None:
                        return
                    self.answered.append((url, status))
                    if self.closing:
                        return
        except OSError:
            pass

    def read_answer(self, reader):
        line = reader.readline()
        if not line.endswith(b"\n"):
            return None
        # From here on the client has seen an answer, whether or not all of it comes.
        status, length, self.closing = int(line.split()[1]), 0, False
        while (header := reader.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
            self.closing |= name.lower() == "connection" and value.strip() == "close"
        reader.read(length)
        return status


class Log:
    """Follows the log over the rounds, also into its next file; reads each record once."""

    def __init__(self, path):
        self.path, self.file, self.previous, self.sequence = path, None, "0" * 64, 0
        self.kinds = collections.Counter()

    def read_on(self):
        """What was decided since the last call, and what stands after the last whole line."""
        decided = {}
        if self.file is None:
            self.file = self.path.open("rb")
        while True:
            at = self.file.tell()
            line = self.file.readline()
            if line.endswith(b"\n"):
                self.take(line, decided)
                continue
            if os.fstat(self.file.fileno()).st_ino == self.path.stat().st_ino:
                self.file.seek(at)
                return decided, line
            assert line == b"", "a half line at the end of a file that was left"
            self.file.close()
            self.file = self.path.open("rb")

    def take(self, line, decided):
        record = json.loads(line)
        assert record["prev"] == self.previous, f"the chain breaks at {record['seq']}"
        assert record["seq"] == self.sequence + 1, f"{record['seq']} after {self.sequence}"
        self.previous, self.sequence = hashlib.sha256(line[:-1]).hexdigest(), record["seq"]
        self.kinds[record["kind"]] += 1
        if record["kind"] == "decision":
            decided[record["url"]] = record["action"]
        if "half line" in record.get("note", ""):
            self.kinds["half line named"] += 1


class Rounds:
    def __init__(self, binaries, folder, seed):
        self.bin, self.folder, self.random = binaries, folder, random.Random(seed)
        self.door = folder / "door"
        (folder / "audit").mkdir()
        self.log = Log(folder / "audit/audit.jsonl")
        origin = Origin()
        self.policy = folder / "policy.yaml"
        self.policy.write_text("version: 1\negress:\n  allow:\n    - GET http://origin.test/**\ninternal:\n"
                               f"  - origin.test:80 -> 127.0.0.1:{origin.server_address[1]}\n")
        self.answered = self.torn = self.unanswered_records = 0

    def start(self):
        self.door.unlink(missing_ok=True)
        process = subprocess.Popen([self.bin / "pinhole-pep", "--policy", self.policy, "--listen", f"unix:{self.door}", "--audit",
                                    self.log.path, "--vm", "kill", "--boot", "b", "--log-level", "error"])
        deadline = time.monotonic() + START_SECONDS
        while not self.door.exists():
            assert process.poll() is None, f"the door did not start: {process.returncode}"
            assert time.monotonic() < deadline, "the door did not start"
            time.sleep(0.002)
        return process

    def judge(self, clients):
        decided, rest = self.log.read_on()
        if rest:
            self.torn += 1
        answered = [pair for client in clients for pair in client.answered]
        for url, status in answered:
            wanted = "deny" if "denied.test" in url else "allow"
            assert decided.get(url) == wanted, f"{url} was answered with {status}, its record is {decided.get(url)}"
            assert status == (403 if wanted == "deny" else 200), f"{url} was answered with {status}"
        self.answered += len(answered)
        self.unanswered_records += len(decided) - len(answered)

    def run(self, rounds):
        for number in range(rounds):
            process = self.start()
            clients = [Client(self.door, f"{number}-{i}") for i in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(self.random.expovariate(1 / MEAN_SECONDS))
            process.send_signal(signal.SIGKILL)
            process.wait()
            for client in clients:
                client.join(30)
                assert not client.is_alive(), "a client waits for a door that is gone"
            if (number + 1) % 50 == 0:
                print(f"round {number + 1}: {self.answered} answered", flush=True)
            self.judge(clients)
        self.judge_torn()

    def judge_torn(self):
        """A kill hardly ever falls within a write: one half line is made by hand, where the last round left none."""
        with self.log.path.open("ab") as log:
            log.write(b'{"v":1,"seq"')
        process = self.start()
        with socket.socket(socket.AF_UNIX) as peer:  # its signal handlers are there once it answers
            peer.connect(str(self.door))
            peer.sendall(b"GET http://denied.test/last HTTP/1.1\r\nHost: denied.test\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 403"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.returncode
        _, rest = self.log.read_on()
        assert not rest and self.log.kinds["half line named"] >= self.torn + 1
        verified = subprocess.run([self.bin / "pinhole", "audit", "verify", "--file", self.log.path], capture_output=True, text=True)
        assert verified.returncode == 0, verified.stderr
        print(verified.stdout, end="")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    binaries = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    print(f"{rounds} rounds, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ph-kill-", dir="/tmp") as folder:
        started = time.monotonic()
        run = Rounds(binaries, pathlib.Path(folder), seed)
        run.run(rounds)
        print(f"{rounds} kills in {time.monotonic() - started:.0f} s: {run.answered} answered requests, all recorded; "
              f"{run.unanswered_records} recorded and not answered; {run.torn} half lines; {dict(run.log.kinds)}")


main()
