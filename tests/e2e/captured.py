# SPDX-License-Identifier: Apache-2.0
"""A guest without a VM: a network namespace with nothing in it but a loopback, in which the agent carries programs' connections to a
door. Programs in it are told of no proxy."""
import json
import os
import pathlib
import socket
import subprocess
import threading

from conftest import BIN


def inner_program(name):
    return BIN / name if (BIN / name).exists() else BIN.parent / "libexec/pinhole" / name


class Supervisor:
    """Its part of port 442: a welcome, and acknowledged heartbeats."""

    def __init__(self, path, ports, authority):
        self.welcome = {"v": 1, "type": "welcome", "nonce": "n1", "instance_id": "", "workspace": False, "markers": False, "fetches": [],
                        "heartbeat_ms": 5000, "capture": {"ports": ports}, "authority": authority}
        self.ready = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            for line in connection.makefile("r"):
                message = json.loads(line)
                if message["type"] == "hello":
                    connection.sendall((json.dumps(self.welcome) + "\n").encode())
                elif message["type"] == "heartbeat":
                    connection.sendall((json.dumps({"v": 1, "type": "heartbeat-ack", "seq": message["seq"]}) + "\n").encode())
                elif message["type"] == "stage" and message["name"] == "agent":
                    self.ready.set()


class Namespace:
    """`folder` is empty and has a short path."""

    def __init__(self, folder: pathlib.Path, door, ports, authority: str):
        self.log = folder / "agent.log"
        (folder / "root/etc").mkdir(parents=True)
        (folder / "root/etc/nsswitch.conf").write_text("hosts: files dns\n")
        supervisor = Supervisor(folder / "hello", ports, authority)
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        with self.log.open("wb") as log:
            self.agent = subprocess.Popen(
                ["unshare", *user, "--net", "--mount", inner_program("pinhole-agent"), "run", "--hello", f"unix:{folder}/hello", "--door",
                 f"unix:{door}", "--listen", f"unix:{folder}/operations", "--run-dir", folder / "run", "--root", folder / "root",
                 "--no-power-off"], stderr=log)
        assert supervisor.ready.wait(30), self.log.read_text()
        self.nsenter = ["nsenter", "--target", str(self.agent.pid), "--net", "--mount"]
        self.nsenter += ["--user", "--preserve-credentials"] if user else []
        # What names are looked up by is what the agent has written, as it would be in a VM.
        for name in ("resolv.conf", "nsswitch.conf"):
            there = os.path.realpath(f"/etc/{name}")
            subprocess.run([*self.enter("/"), "mount", "--bind", folder / "root/etc" / name, there], check=True, timeout=20)

    def enter(self, cwd):
        """What a command begins with to run inside."""
        return [*self.nsenter, f"--wdns={cwd}"]

    def stop(self):
        assert self.agent.poll() is None, self.log.read_text()
        self.agent.kill()
        self.agent.wait(20)
