# SPDX-License-Identifier: Apache-2.0
"""A WebSocket and a gRPC server over TLS.   stream_origins.py CERTIFICATE KEY BIG_BYTES
Says its ports in one line of JSON, and ends with its standard input. A process of its own: gRPC and fork() do not go together.

WebSocket: /echo sends each message back; /headers tells the handshake's Authorization and its SHA-256; /big sends BIG_BYTES.
gRPC (bytes, no protobuf): /pinhole.Test/{Echo, Headers, Big}; Talk is a stream both ways."""
import asyncio
import hashlib
import json
import pathlib
import ssl
import sys

import grpc
import websockets

from origin import pattern

PART = 1 << 20
certificate, key, big_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
BIG = pattern(big_bytes)


def told(authorization):
    return f"authorization: {authorization}\nsha256: {hashlib.sha256(authorization.encode()).hexdigest()}\n"


async def websocket(socket):
    if socket.path == "/headers":
        await socket.send(told(socket.request_headers.get("Authorization", "")))
    elif socket.path == "/big":
        for at in range(0, len(BIG), PART):
            await socket.send(BIG[at:at + PART])
    else:
        async for message in socket:
            await socket.send(message)


async def echo(request, _):
    return request


async def headers(_, context):
    """The echo in the answer's own metadata: within a message it would change the length that stands before it."""
    authorization = dict(context.invocation_metadata()).get("authorization", "")
    await context.send_initial_metadata((("echo", authorization),))
    return hashlib.sha256(authorization.encode()).hexdigest().encode()


async def big(_, __):
    for at in range(0, len(BIG), PART):
        yield BIG[at:at + PART]


async def talk(requests, _):
    async for request in requests:
        yield request


class Methods(grpc.GenericRpcHandler):
    table = {"/pinhole.Test/Echo": grpc.unary_unary_rpc_method_handler(echo),
             "/pinhole.Test/Headers": grpc.unary_unary_rpc_method_handler(headers),
             "/pinhole.Test/Big": grpc.unary_stream_rpc_method_handler(big),
             "/pinhole.Test/Talk": grpc.stream_stream_rpc_method_handler(talk)}

    def service(self, call):
        return self.table.get(call.method)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sockets = await websockets.serve(websocket, "127.0.0.1", 0, ssl=context, compression=None)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    credentials = grpc.ssl_server_credentials([(pathlib.Path(key).read_bytes(), pathlib.Path(certificate).read_bytes())])
    grpc_port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(json.dumps({"websocket": sockets.sockets[0].getsockname()[1], "grpc": grpc_port}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sockets.close()
    await server.stop(0)


asyncio.run(main())
