#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Capture as programs see it: the agent as a process in a network namespace of its own, with a host and a door
that are played here, and real clients that know of no proxy.

  capture_test.py PINHOLE_AGENT

As root the kernel sorts connections (BPF SK_LOOKUP). An ordinary user does it in a user namespace, where the kernel
refuses that, and tests the listeners that take its place."""
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

PATIENCE = 20  # seconds, of every step that could hang
AUTHORITY = """-----BEGIN CERTIFICATE-----
MIIBuTCCAV+gAwIBAgIUedGLDlKrvoYxWisukUPnASaJfecwCgYIKoZIzj0EAwIw
MTEWMBQGA1UECgwNUGluaG9sZSAgVGVzdDEXMBUGA1UEAwwOIFRoZSBBdXRob3Jp
dHkwIBcNMjYxMTIzMTcxMDA5WhgPMjEyNjEwMzAxNzEwMDlaMDExFjAUBgNVBAoM
DVBpbmhvbGUgIFRlc3QxFzAVBgNVBAMMDiBUaGUgQXV0aG9yaXR5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAE+U6MbFggXTgERSLUSexPX9+oyM1+MIrV8YTPCsVT
A+Kh7uCubiWLujos/H2O6oG+X20sW/TEpvafj0Sz6TUXWqNTMFEwHQYDVR0OBBYE
FP8HaeRTK6j470tD+iDU1uxTPHNUMB8GA1UdIwQYMBaAFP8HaeRTK6j470tD+iDU
1uxTPHNUMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAL54bElT
Fgw4ULb93Qxj4oWaOlWv3W9GCD05//8foQXLAiBl876fUhlcX+U6H+F94ZxgAkKL
Qy+y2zrqY3F/7PPDMg==
-----END CERTIFICATE-----
"""
OWN4, OWN6 = "198.18.0.1", "fd50:696e:686f:6c65::1"


def enter_namespace():
    """Starts this program again where it may change the network."""
    if os.environ.get("PINHOLE_IN_NAMESPACE"):
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # A mount namespace, for the files that name look-ups go by.
    command = ["unshare", *user, "--net", "--mount", sys.executable, *sys.argv]
    os.environ["PINHOLE_IN_NAMESPACE"] = "user" if user else "root"
    os.execvp(command[0], command)


class Door(threading.Thread):
    """The PEP's part: each CONNECT is noted and answered by `answer(authority)`, then by `inside(connection)`."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(256)
        self.requests = []
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.settimeout(PATIENCE)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(4096)
            if not piece:
                return
            head += piece
        head = head.decode()
        self.requests.append(head)
        authority = head.split()[1]
        host, port = authority.rsplit(":", 1)
        with connection:
            try:
                self.answer(connection, host, int(port))
            except OSError:
                pass

    def answer(self, connection, host, port):
        if host.startswith("denied"):
            body = b"denied by policy\n"
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            return
        established = b"HTTP/1.1 200 Connection established\r\n\r\n"
        if host.startswith("greeting"):  # a server that speaks first, in the same piece
            connection.sendall(established + b"220 hello\r\n")
            connection.sendall(connection.recv(100))
            return
        connection.sendall(established)
        if host.startswith("echo"):
            while piece := connection.recv(65536):
                connection.sendall(piece)
            return
        if host.startswith("big"):
            connection.recv(65536)
            size = 20_000_000
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // 100_000):
                connection.sendall(b"x" * 100_000)
            return
        reader = connection.makefile("rb")
        while line := reader.readline():
            headers = []
            while (header := reader.readline().strip()):
                headers.append(header)
            body = b"%s %s\n" % (host.encode(), line.split()[1])
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def last(self):
        return self.requests[-1]


class Host(threading.Thread):
    """The supervisor's part of port 442."""

    def __init__(self, path, ports):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.ports = ports
        self.stages = {}
        self.changed = threading.Condition()
        self.connection = None
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            if self.connection:
                self.connection.close()
            self.connection = connection
            for line in connection.makefile("r"):
                message = json.loads(line)
                if message["type"] == "hello":
                    self.say({"v": 1, "type": "welcome", "nonce": "n1", "instance_id": "", "workspace": False,
                              "markers": False, "fetches": [], "heartbeat_ms": 5000,
                              "capture": {"ports": self.ports}, "authority": AUTHORITY})
                elif message["type"] == "heartbeat":
                    self.say({"v": 1, "type": "heartbeat-ack", "seq": message["seq"]})
                elif message["type"] == "stage":
                    with self.changed:
                        self.stages[message["name"]] = message
                        self.changed.notify_all()

    def say(self, message):
        self.connection.sendall((json.dumps(message) + "\n").encode())

    def stage(self, name):
        with self.changed:
            if not self.changed.wait_for(lambda: name in self.stages, PATIENCE):
                raise TimeoutError(name)
            return self.stages[name]


class Guest:
    """The agent, with a root folder of its own for what it writes."""

    def __init__(self, ports=(80, 443, 8080)):
        self.folder = tempfile.mkdtemp(prefix="pinhole-capture-")
        os.makedirs(self.folder + "/root/etc")
        os.symlink("../run/systemd/resolve/stub-resolv.conf", self.folder + "/root/etc/resolv.conf")
        with open(self.folder + "/root/etc/nsswitch.conf", "w") as file:
            file.write("passwd: files\nhosts: files mymachines resolve [!UNAVAIL=return] dns\n")
        self.door = Door(self.folder + "/door")
        self.host = Host(self.folder + "/hello", list(ports))
        self.start()

    def start(self):
        self.log = open(self.folder + "/log", "ab")
        self.host.stages.clear()
        self.agent = subprocess.Popen(
            [AGENT, "run", "--hello", f"unix:{self.folder}/hello", "--door", f"unix:{self.folder}/door",
             "--listen", f"unix:{self.folder}/operations", "--run-dir", f"{self.folder}/run", "--root",
             f"{self.folder}/root", "--no-power-off"], stderr=self.log)
        self.said = self.host.stage("agent")["detail"]

    def stop(self):
        self.agent.kill()
        self.agent.wait()
        self.log.close()

    def restart(self):
        self.stop()
        for name in ("operations",):
            if os.path.exists(f"{self.folder}/{name}"):
                os.unlink(f"{self.folder}/{name}")
        self.start()

    def end(self):
        self.stop()
        with open(self.folder + "/log") as log:
            self.text = log.read()
        shutil.rmtree(self.folder)

    def file(self, name):
        with open(f"{self.folder}/root/etc/{name}") as file:
            return file.read()


def use_files(guest):
    """What this namespace's programs look names up by is what the agent has written."""
    for name in ("resolv.conf", "nsswitch.conf", "hosts"):
        real = os.path.realpath("/etc/" + name)
        subprocess.run(["mount", "--bind", f"{guest.folder}/root/etc/{name}", real], check=True)


def run(*command, env_also=None, **options):
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | (env_also or {})
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, **options)


def ask(name, kind, family=socket.AF_INET):
    """A bare DNS question; the answer's code and its address or name bytes."""
    query = b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"
    query += kind.to_bytes(2, "big") + b"\0\1"
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.settimeout(PATIENCE)
        asker.connect((OWN4, 53))
        asker.send(query)
        answer = asker.recv(2000)
    return answer[3] & 15, answer[7], answer


def outcome(address, port, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                client.send(b"x")
            else:
                client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            return client.recv(1000)
        except OSError as error:
            return type(error).__name__


class Capture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.guest = Guest()
        cls.door = cls.guest.door
        use_files(cls.guest)
        cls.sorted_by_kernel = os.environ["PINHOLE_IN_NAMESPACE"] == "root"

    @classmethod
    def tearDownClass(cls):
        cls.guest.end()
        sys.stderr.write(cls.guest.text)

    def test_the_agent_stage_is_content(self):
        self.assertNotIn("capture", self.guest.said)

    def test_the_files_lead_to_the_agent(self):
        self.assertIn(f"\nnameserver {OWN4}\n", self.guest.file("resolv.conf"))
        self.assertFalse(os.path.islink(f"{self.guest.folder}/root/etc/resolv.conf"))
        self.assertTrue(os.path.islink(f"{self.guest.folder}/root/etc/resolv.conf.pinhole-orig"))
        self.assertEqual(self.guest.file("nsswitch.conf"), "passwd: files\nhosts: files dns\n")
        self.assertIn("127.0.0.1 localhost\n", self.guest.file("hosts"))

    def test_programs_trust_the_authority(self):
        certs = self.guest.folder + "/root/etc/ssl/certs"
        self.assertEqual(self.guest.file("ssl/certs/ca-certificates.crt"), AUTHORITY)
        self.assertIn("\nNODE_EXTRA_CA_CERTS=/usr/local/share/ca-certificates/pinhole.crt\n",
                      self.guest.file("environment"))
        told = run("openssl", "x509", "-noout", "-subject_hash",
                   "-in", self.guest.folder + "/root/usr/local/share/ca-certificates/pinhole.crt")
        self.assertEqual(os.readlink(f"{certs}/{told.stdout.strip()}.0"), "pinhole.pem")

    def test_git_over_ssh_becomes_https(self):
        told = run("git", "ls-remote", "--get-url", "git@github.com:a/b.git",
                   env_also={"GIT_CONFIG_SYSTEM": self.guest.folder + "/root/etc/gitconfig"})
        self.assertEqual(told.stdout, "https://github.com/a/b.git\n")

    def test_both_families_are_found_with_addrconfig(self):
        for family, pattern in ((socket.AF_INET, r"198\.1[89]\."), (socket.AF_INET6, r"fd50:696e:686f:6c65::c61")):
            found = socket.getaddrinfo("Both.example", 443, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
            self.assertEqual(len(found), 1)
            self.assertRegex(found[0][4][0], "^" + pattern)
        self.assertEqual(len(socket.getaddrinfo("both.example", 443, type=socket.SOCK_STREAM)), 2)
        address = socket.gethostbyname("both.example")
        self.assertEqual(socket.gethostbyaddr(address)[0], "both.example")

    def test_some_names_are_special(self):
        self.assertEqual(ask("a.localhost", 1)[2][-4:], b"\x7f\0\0\1")
        self.assertEqual(ask("a.invalid", 1)[0], 3)
        self.assertEqual(ask("a.onion", 28)[0], 3)
        self.assertEqual(ask("a.example", 65)[:2], (0, 0))  # HTTPS: nothing
        self.assertEqual(ask("1.0.0.10.in-addr.arpa", 12)[0], 3)

    def test_names_are_answered_over_tcp_too(self):
        query = b"\0\7\1\0\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1"
        with socket.create_connection((OWN4, 53), PATIENCE) as asker:
            for _ in range(2):
                asker.sendall(len(query).to_bytes(2, "big") + query)
                size = int.from_bytes(asker.recv(2, socket.MSG_WAITALL), "big")
                self.assertEqual(asker.recv(size, socket.MSG_WAITALL)[-6:-3], b"\0\4\xc6")

    def test_curl_knows_no_proxy(self):
        for family in ("-4", "-6"):
            told = run("curl", "-sS", family, "http://web.example/path")
            self.assertEqual((told.stdout, told.stderr), ("web.example /path\n", ""))
            head = self.door.last()
            self.assertTrue(head.startswith("CONNECT web.example:80 HTTP/1.1\r\nHost: web.example:80\r\n"), head)
            self.assertRegex(head, r"Pinhole-Client: (program=\"curl\"; )?uid=0(; pid=\d+)?\r\n")

    def test_the_door_is_told_who_connects(self):
        for _ in range(50):  # a search for the process is left out when the last one was just now
            run("curl", "-sS", "http://who.example/")
            if "pid=" in self.door.last():
                break
        self.assertRegex(self.door.last(), r'Pinhole-Client: program="curl"; uid=0; pid=\d+\r\n')

    def test_an_address_is_asked_for_as_such(self):
        self.assertEqual(run("curl", "-sS", "http://192.0.2.7:8080/").stdout, "192.0.2.7 /\n")
        self.assertEqual(run("curl", "-sS", "http://[2001:db8::7]:8080/").stdout, "[2001:db8::7] /\n")
        self.assertIn("CONNECT [2001:db8::7]:8080 ", self.door.last())

    def test_what_the_door_refuses_on_port_80_is_readable(self):
        told = run("curl", "-sS", "-w", "%{http_code}", "http://denied.example/")
        self.assertEqual(told.stdout, "denied by policy\n403")

    def test_what_the_door_refuses_elsewhere_is_reset(self):
        address = socket.gethostbyname("denied.example")
        self.assertEqual(outcome(address, 443), "ConnectionResetError")

    def test_other_ports_and_udp_refuse_at_once(self):
        for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
            self.assertEqual(outcome(address, 22, family), "ConnectionRefusedError")
            self.assertEqual(outcome(address, 443, family, socket.SOCK_DGRAM), "ConnectionRefusedError")

    def test_a_server_may_speak_first(self):
        with socket.create_connection((socket.gethostbyname("greeting.example"), 8080), PATIENCE) as client:
            self.assertEqual(client.recv(11, socket.MSG_WAITALL), b"220 hello\r\n")
            client.sendall(b"EHLO\n")
            self.assertEqual(client.recv(100), b"EHLO\n")

    def test_an_end_is_passed_on_and_bytes_are_exact(self):
        with socket.create_connection(("echo.example", 443), PATIENCE) as client:
            sent = os.urandom(1_000_000)
            threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR))).start()
            came = b""
            while piece := client.recv(65536):
                came += piece
            self.assertEqual(came, sent)

    def test_a_large_answer_is_whole(self):
        told = run("curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", "http://big.example/")
        self.assertEqual((told.stdout, told.stderr), ("20000000", ""))

    def test_many_at_once(self):
        told = run("curl", "-sS", "--parallel", "--parallel-immediate", "--parallel-max", "60",
                   "http://n[1-120].example/")
        self.assertEqual(sorted(told.stdout.split("\n")), sorted([""] + [f"n{i}.example /" for i in range(1, 121)]))

    def test_the_guests_own_servers_keep_their_ports(self):
        if not self.sorted_by_kernel:
            self.skipTest("the kernel does not sort connections for an ordinary user")
        handler = type("Own", (http.server.SimpleHTTPRequestHandler,), {
            "do_GET": lambda self: (self.send_response(204), self.end_headers()), "log_message": lambda *_: None})
        for port in (80, 5432):
            server = http.server.ThreadingHTTPServer(("0.0.0.0", port), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.assertRegex(outcome("127.0.0.1", port), b"^HTTP/1.0 204 ")
            self.assertRegex(outcome(OWN4, port), b"^HTTP/1.0 204 ")
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
        self.assertEqual(outcome("192.0.2.9", 5432), "ConnectionRefusedError")
        self.assertRegex(outcome("192.0.2.9", 80), b"192.0.2.9 /x")

    def test_an_address_that_is_added_is_the_guests_own(self):
        if not self.sorted_by_kernel:
            self.skipTest("the kernel does not sort connections for an ordinary user")
        with socket.socket() as listener:
            listener.bind(("0.0.0.0", 7000))
            listener.listen()
            self.assertEqual(outcome("172.17.0.1", 7000), "ConnectionRefusedError")
            run("ip", "address", "add", "172.17.0.1/32", "dev", "lo")

            def accept_one():
                with listener.accept()[0] as connection:
                    connection.sendall(b"own")

            accepted = threading.Thread(target=accept_one)
            accepted.start()
            for _ in range(200):  # the agent hears of it a moment later
                if outcome("172.17.0.1", 7000) == b"own":
                    break
            accepted.join(PATIENCE)
            self.assertFalse(accepted.is_alive())

    def test_the_agents_own_listener_is_no_way_round(self):
        shown = run("ss", "-Hltn").stdout if shutil.which("ss") else ""
        for port in re.findall(re.escape(OWN4) + r":(\d+) ", shown):
            if port != "53":
                self.assertEqual(outcome(OWN4, int(port)), "ConnectionResetError")

    def test_z_ports_change_with_the_policy(self):
        self.assertEqual(outcome("192.0.2.1", 9418), "ConnectionRefusedError")
        self.guest.host.say({"v": 1, "type": "ports", "ports": [80, 443, 8080, 9418]})
        for _ in range(2000):
            if outcome("192.0.2.1", 9418) != "ConnectionRefusedError":
                break
        self.assertIn(b"192.0.2.1 /x", outcome("192.0.2.1", 9418))

    def test_z_names_outlive_the_agent(self):
        names = [f"stable{i}.example" for i in range(20)]
        before = [socket.gethostbyname(name) for name in names]
        files = [self.guest.file(name) for name in ("resolv.conf", "nsswitch.conf", "hosts")]
        self.guest.restart()
        self.assertEqual([self.guest.file(name) for name in ("resolv.conf", "nsswitch.conf", "hosts")], files)
        self.assertIn(b"stable7.example /x", outcome(before[7], 80))
        self.assertEqual([socket.gethostbyname(name) for name in reversed(names)], before[::-1])


if __name__ == "__main__":
    enter_namespace()
    AGENT = sys.argv.pop(1)
    unittest.main(verbosity=1)
