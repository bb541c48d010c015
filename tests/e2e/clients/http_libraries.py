# SPDX-License-Identifier: Apache-2.0
"""Python's HTTP libraries, each used as its documentation says.   http_libraries.py LIBRARY ORIGIN DENIED PLACEHOLDER
The proxy and the authority come from the environment. Prints one line of JSON per cell of the matrix."""
import asyncio
import hashlib
import json
import sys


class Urllib:
    def __init__(self):
        import urllib.request
        self.request = urllib.request

    def open(self, url, headers=None, data=None):
        import urllib.error
        try:
            return self.request.urlopen(self.request.Request(url, headers=headers or {}, data=data))
        except urllib.error.HTTPError as error:
            return error

    def get(self, url, headers=None):
        with self.open(url, headers) as answer:
            return answer.status, answer.read().decode()

    def parts(self, url):
        with self.open(url) as answer:
            while part := answer.read(1 << 16):
                yield part

    def lines(self, url):
        with self.open(url) as answer:
            for line in answer:
                yield line.decode()

    def upload(self, url):
        # No Content-Length is known for an iterable, so http.client sends chunks.
        with self.open(url, {"Content-Type": "text/plain"}, in_two(self, url)) as answer:
            return answer.status, answer.read().decode()


class Requests:
    def __init__(self):
        import requests
        self.session = requests.Session()

    def get(self, url, headers=None):
        answer = self.session.get(url, headers=headers)
        return answer.status_code, answer.text

    def parts(self, url):
        with self.session.get(url, stream=True) as answer:
            yield from answer.iter_content(1 << 16)

    def lines(self, url):
        with self.session.get(url, stream=True) as answer:
            yield from (line.decode() for line in answer.iter_lines(chunk_size=1))

    def upload(self, url):
        answer = self.session.post(url, data=in_two(self, url))
        return answer.status_code, answer.text


class Httpx:
    def __init__(self, http2=False):
        import httpx
        self.client = httpx.Client(http2=http2, timeout=60)

    def get(self, url, headers=None):
        answer = self.client.get(url, headers=headers)
        return answer.status_code, answer.text

    def parts(self, url):
        with self.client.stream("GET", url) as answer:
            yield from answer.iter_bytes()

    def lines(self, url):
        with self.client.stream("GET", url) as answer:
            yield from answer.iter_lines()

    def upload(self, url):
        answer = self.client.post(url, content=in_two(self, url))
        return answer.status_code, answer.text


class Aiohttp:
    """Its coroutines step by step from outside, so that one script serves all libraries."""

    def __init__(self):
        import aiohttp
        self.loop = asyncio.new_event_loop()
        self.session = self.do(self.make(aiohttp))

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def make(self, aiohttp):
        return aiohttp.ClientSession(trust_env=True)

    def get(self, url, headers=None):
        async def fetch():
            async with self.session.get(url, headers=headers) as answer:
                return answer.status, await answer.text()
        return self.do(fetch())

    def parts(self, url):
        answer = self.do(self.session.get(url).__aenter__())
        while part := self.do(answer.content.readany()):
            yield part

    def lines(self, url):
        answer = self.do(self.session.get(url).__aenter__())
        while line := self.do(answer.content.readline()):
            yield line.decode()

    def upload(self, url):
        async def body():
            yield b"first\n"
            async with self.session.get(arrived(url)) as answer:
                await answer.read()
            yield b"second\n"

        async def send():
            async with self.session.post(url, data=body()) as answer:
                return answer.status, await answer.text()
        return self.do(send())


def arrived(url):
    return url.replace("/upload/", "/arrived/")


def in_two(client, url):
    """The second part is not there before the origin has the first."""
    yield b"first\n"
    client.get(arrived(url))
    yield b"second\n"


def events(client, origin, name):
    seen = []
    for line in client.lines(f"{origin}/events/{name}"):
        if line.strip():
            seen.append(line.strip())
        if len(seen) == 1:
            client.get(f"{origin}/release/{name}")
    return {"lines": seen}


def big(client, origin):
    digest = hashlib.sha256()
    for part in client.parts(f"{origin}/big"):
        digest.update(part)
    return {"sha256": digest.hexdigest()}


def main(library, origin, denied, placeholder):
    client = {"urllib": Urllib, "requests": Requests, "httpx": Httpx, "httpx-http2": lambda: Httpx(True), "aiohttp": Aiohttp}[library]()
    cells = {
        "allowed": lambda: client.get(f"{origin}/hello"),
        "denied host": lambda: client.get(denied),
        "denied path": lambda: client.get(f"{origin}/forbidden/x"),
        "swapped": lambda: client.get(f"{origin}/echo", {"Authorization": f"Bearer {placeholder}"}),
        "misplaced": lambda: client.get(f"{origin}/echo", {"X-Other": placeholder}),
        "big": lambda: big(client, origin),
        "events": lambda: events(client, origin, library),
        "upload": lambda: client.upload(f"{origin}/upload/{library}"),
    }
    for name, cell in cells.items():
        try:
            got = cell()
            print(json.dumps({"cell": name, **(got if isinstance(got, dict) else {"status": got[0], "body": got[1]})}), flush=True)
        except Exception as error:  # Told, not hidden: the cell fails with these words.
            print(json.dumps({"cell": name, "error": repr(error)}), flush=True)


main(*sys.argv[1:])
