# SPDX-License-Identifier: Apache-2.0
"""WebSocket clients.   websocket_clients.py websocket-client|aiohttp ORIGIN DENIED PLACEHOLDER
The proxy and the authority come from the environment. Prints one line of JSON per cell of the matrix."""
import asyncio
import hashlib
import json
import os
import sys


class WebsocketClient:
    """python3-websocket; it reads https_proxy, and the authority where it is told (WEBSOCKET_CLIENT_CA_BUNDLE)."""

    def __init__(self):
        import websocket
        self.websocket = websocket

    def connect(self, url, headers=None):
        try:
            self.socket = self.websocket.create_connection(url, header=headers or {}, timeout=60)
        except self.websocket.WebSocketBadStatusException as error:
            return {"status": error.status_code, "headers": dict(error.resp_headers or {}), "message": str(error)}
        return {"status": 101}

    def send(self, message):
        self.socket.send(message)

    def receive(self):
        return self.socket.recv()

    def close(self):
        self.socket.close()


class Aiohttp:
    def __init__(self):
        import aiohttp
        self.aiohttp = aiohttp
        self.loop = asyncio.new_event_loop()

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def connect(self, url, headers=None):
        async def make():
            self.session = self.aiohttp.ClientSession(trust_env=True)
            self.socket = await self.session.ws_connect(url.replace("wss:", "https:"), headers=headers, max_msg_size=0)
        try:
            self.do(make())
        except self.aiohttp.WSServerHandshakeError as error:
            self.do(self.session.close())
            return {"status": error.status, "headers": dict(error.headers), "message": str(error)}
        return {"status": 101}

    def send(self, message):
        self.do(self.socket.send_str(message))

    def receive(self):
        return self.do(self.socket.receive()).data

    def close(self):
        self.do(self.socket.close())
        self.do(self.session.close())


def allowed(client, origin):
    """Messages in turn, so that each must have passed both ways before the next is sent."""
    told = client.connect(f"{origin}/echo")
    lines = []
    if told["status"] == 101:
        for number in range(50):
            client.send(f"message {number}")
            lines.append(client.receive())
        client.close()
    return {**told, "lines": lines}


def swapped(client, origin, placeholder):
    told = client.connect(f"{origin}/headers", {"Authorization": f"Bearer {placeholder}"})
    if told["status"] == 101:
        told["body"] = client.receive()
        client.close()
    return told


def big(client, origin, size):
    told = client.connect(f"{origin}/big")
    digest = hashlib.sha256()
    while told["status"] == 101 and size > 0:
        part = client.receive()
        digest.update(part)
        size -= len(part)
    return {**told, "sha256": digest.hexdigest()}


def main(library, origin, denied, placeholder):
    client = {"websocket-client": WebsocketClient, "aiohttp": Aiohttp}[library]()
    cells = {
        "allowed": lambda: allowed(client, origin),
        "denied host": lambda: client.connect(denied),
        "denied path": lambda: client.connect(f"{origin}/forbidden/x"),
        "swapped": lambda: swapped(client, origin, placeholder),
        "misplaced": lambda: client.connect(f"{origin}/headers", {"X-Other": placeholder}),
        "big": lambda: big(client, origin, int(os.environ["BIG"])),
    }
    for name, cell in cells.items():
        try:
            print(json.dumps({"cell": name, **cell()}), flush=True)
        except Exception as error:  # Told, not hidden: the cell fails with these words.
            print(json.dumps({"cell": name, "error": repr(error)}), flush=True)


main(*sys.argv[1:])
