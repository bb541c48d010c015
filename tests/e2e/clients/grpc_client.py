# SPDX-License-Identifier: Apache-2.0
"""A gRPC client (grpcio).   grpc_client.py ORIGIN DENIED PLACEHOLDER, both as HOST:PORT
The proxy comes from https_proxy, the authority from GRPC_DEFAULT_SSL_ROOTS_FILE_PATH. Prints one line of JSON per cell."""
import hashlib
import json
import queue
import sys

import grpc

SECONDS = 30


def call(host, method, request=b"", metadata=None):
    with grpc.secure_channel(host, grpc.ssl_channel_credentials()) as channel:
        try:
            answer, done = channel.unary_unary(f"/pinhole.Test/{method}").with_call(request, metadata=metadata, timeout=SECONDS)
        except grpc.RpcError as error:
            return {"status": error.code().name, "details": error.details()}
    return {"status": "OK", "body": answer.decode(), "metadata": dict(done.initial_metadata())}


def big(host):
    digest = hashlib.sha256()
    with grpc.secure_channel(host, grpc.ssl_channel_credentials()) as channel:
        for part in channel.unary_stream("/pinhole.Test/Big")(b"", timeout=SECONDS):
            digest.update(part)
    return {"sha256": digest.hexdigest()}


def talk(host):
    """Each message is sent when the one before has come back: nothing may be kept for later on either way."""
    requests = queue.SimpleQueue()
    lines = []
    with grpc.secure_channel(host, grpc.ssl_channel_credentials()) as channel:
        requests.put(b"message 0")
        for answer in channel.stream_stream("/pinhole.Test/Talk")(iter(requests.get, None), timeout=SECONDS):
            lines.append(answer.decode())
            requests.put(f"message {len(lines)}".encode() if len(lines) < 50 else None)
    return {"lines": lines}


def main(origin, denied, placeholder):
    cells = {
        "allowed": lambda: call(origin, "Echo", b"hello from the client"),
        "denied host": lambda: call(denied, "Echo"),
        "denied path": lambda: call(origin, "Forbidden"),
        "swapped": lambda: call(origin, "Headers", metadata=[("authorization", f"Bearer {placeholder}")]),
        "misplaced": lambda: call(origin, "Headers", metadata=[("x-other", placeholder)]),
        "big": lambda: big(origin),
        "talk": lambda: talk(origin),
    }
    for name, cell in cells.items():
        try:
            print(json.dumps({"cell": name, **cell()}), flush=True)
        except Exception as error:  # Told, not hidden: the cell fails with these words.
            print(json.dumps({"cell": name, "error": repr(error)}), flush=True)


main(*sys.argv[1:])
