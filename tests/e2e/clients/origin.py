# SPDX-License-Identifier: Apache-2.0
"""An origin over TLS that every client of the matrix talks to: files, echo, events, uploads, git over smart HTTP, and whatever package
index the test lays out below `www`.

What streams is proven without a clock: the origin keeps the second part back until a request tells it that the first has arrived.
  GET  /hello             a line of text
  GET  /echo              the Authorization it was sent, and the SHA-256 of that, which nobody on the way can rewrite unnoticed
  GET  /big               bytes of a known pattern, also the rest of them
  GET  /events/ID         server-sent events: the first at once, the second after GET /release/ID
  POST /upload/ID         how much came, its SHA-256, and whether its length was unknown; GET /arrived/ID answers when a part is here
  *    /git/REPO.git/…    git http-backend
  GET  /FILE              a file below `www`
Below /private/ the same asks for the real value of the secret, as a bearer token or as the password of Basic."""
import base64
import collections
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import ssl
import subprocess
import threading

WAIT = 20  # seconds; a client that does not stream runs into it, and gets what makes its cell fail


def pattern(size):
    """The same bytes each time; no compression and no lost block goes unseen."""
    return random.Random(size).randbytes(size)


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self):
        if self.path.startswith("/private/"):
            if not self.has_value():
                return self.text(401, "who is it?\n", {"WWW-Authenticate": 'Basic realm="origin"'})
            self.path = self.path.removeprefix("/private")
        first, _, rest = self.path.lstrip("/").partition("/")
        paths = {"hello": self.hello, "echo": self.echo, "big": self.big, "events": self.events, "release": self.release,
                 "arrived": self.arrived, "upload": self.upload, "git": self.git}
        if first in paths:
            return paths[first](rest)
        self.drain()
        return super().do_HEAD() if self.command == "HEAD" else super().do_GET()

    def has_value(self):
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            credentials = base64.b64decode(credentials).decode().partition(":")[2]
        return credentials == self.server.value

    # Answers.

    def text(self, status, body, headers=None):
        self.drain()
        self.begin(status, {"Content-Type": "text/plain", "Content-Length": str(len(body.encode())), **(headers or {})})
        self.wfile.write(body.encode() if self.command != "HEAD" else b"")

    def begin(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    # What comes with a request.

    def parts(self):
        """The request's body as it arrives."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(100).split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                part = self.rfile.read1(min(left, 1 << 16))
                if not part:
                    return
                left -= len(part)
                yield part
        self.drained = True

    def drain(self):
        if not getattr(self, "drained", False):
            collections.deque(self.parts(), 0)
        self.drained = False

    # Places.

    def hello(self, _):
        self.text(200, "hello from the origin\n")

    def echo(self, _):
        sent = self.headers.get("Authorization", "")
        self.text(200, f"authorization: {sent}\nsha256: {hashlib.sha256(sent.encode()).hexdigest()}\n")

    def big(self, _):
        data, headers = self.server.big, {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            headers["Content-Range"] = f"bytes {asked[1]}-{len(data) - 1}/{len(data)}"
            data = data[int(asked[1]):]
            self.server.flag("resumed", int(asked[1])).set()
        self.begin(206 if asked else 200, {**headers, "Content-Length": str(len(data))})
        for at in range(0, len(data) if self.command != "HEAD" else 0, 1 << 20):
            self.wfile.write(data[at:at + (1 << 20)])

    def events(self, name):
        self.begin(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        self.chunk(b"data: first\n\n")
        told = self.server.flag("release", name).wait(WAIT)
        self.chunk(b"data: second\n\n" if told else b"data: nobody had the first\n\n")
        self.chunk(b"")

    def release(self, name):
        self.server.flag("release", name).set()
        self.text(200, "released\n")

    def arrived(self, name):
        here = self.server.flag("arrived", name).wait(WAIT)
        self.text(200 if here else 504, "arrived\n" if here else "nothing came\n")

    def upload(self, name):
        digest, size = hashlib.sha256(), 0
        for part in self.parts():
            digest.update(part)
            size += len(part)
            self.server.flag("arrived", name).set()
        self.text(200, json.dumps({"bytes": size, "sha256": digest.hexdigest(), "length_known": "Content-Length" in self.headers}) + "\n")

    def git(self, rest):
        path, _, query = rest.partition("?")
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        if chunked and path.endswith("/git-receive-pack"):
            self.server.flag("pushed in chunks", path.split("/")[0]).set()
        env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_PROJECT_ROOT": str(self.server.repositories), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": "/" + path,
               "REQUEST_METHOD": self.command, "QUERY_STRING": query, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "REMOTE_USER": "someone", "REMOTE_ADDR": "127.0.0.1",
               "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        # Not from a wrapper's own PATH_INFO rules: git's documentation of http-backend names exactly these variables.
        with subprocess.Popen(["git", "http-backend"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as backend:
            for part in self.parts():
                backend.stdin.write(part)
            self.drained = False
            backend.stdin.close()
            headers = {}
            while line := backend.stdout.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name] = value
            self.begin(int(headers.pop("Status", "200").split()[0]), {**headers, "Transfer-Encoding": "chunked"})
            while data := backend.stdout.read1(1 << 16):
                self.chunk(data)
            self.chunk(b"")


class Origin(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root: pathlib.Path, certificate, key, value: str, big: bytes):
        self.www, self.repositories = root / "www", root / "repositories"
        for folder in (self.www, self.repositories):
            folder.mkdir()
        self.value, self.big = value, memoryview(big)
        self.flags = collections.defaultdict(threading.Event)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        super().__init__(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(self.www)))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def flag(self, kind, name):
        return self.flags[kind, name]

    def finish_request(self, request, address):
        """In the connection's own thread, so that a client that dawdles over its handshake holds nobody up."""
        request.settimeout(WAIT)
        try:
            with self.context.wrap_socket(request, server_side=True) as stream:
                super().finish_request(stream, address)
        except (OSError, ValueError):
            pass  # The connection's end is the other side's business; what went wrong shows in the client.
