# SPDX-License-Identifier: Apache-2.0
"""The rows of WebSocket and gRPC clients."""
from clients.lab import PYTHON
from clients.matrix import Client, facts_of, is_swapped

TURNS = [f"message {number}" for number in range(50)]


def is_refused(it, code="denied_by_policy"):
    """A client that hides bodies still has the handshake's header."""
    told = {name.lower(): value for name, value in it["headers"].items()}["proxy-status"]
    assert it["status"] == 403 and f"code={code}; details=" in told, it


def websocket(name, key, told_by, ca_variable):
    def command(lab):
        return ([PYTHON, lab.here / "websocket_clients.py", key, "wss://ws.test", "wss://denied.test/x", lab.placeholder],
                {ca_variable: lab.ca, "BIG": len(lab.big)})
    fact = facts_of(name, command)

    def allowed(lab):
        assert fact(lab, "allowed")["status"] == 101
        return "yes"

    def denied(lab):
        for cell in ("denied host", "denied path"):
            is_refused(fact(lab, cell))
        return "in the handshake's `Proxy-Status`; the client hides the body"

    def swapped(lab):
        is_swapped(fact(lab, "swapped")["body"], lab)
        is_refused(fact(lab, "misplaced"), "secret_blocked")
        return "in the handshake"

    def big(lab):
        assert fact(lab, "big")["sha256"] == lab.big_sha
        return "yes"

    def streaming(lab):
        assert fact(lab, "allowed")["lines"] == TURNS
        return "messages both ways in turn"

    return Client(name, told_by, allowed, denied, swapped, big, streaming)


def grpc():
    name, told_by = "gRPC (Python grpcio)", "`https_proxy`, `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH`"

    def command(lab):
        return ([PYTHON, lab.here / "grpc_client.py", "grpc.test:443", "denied.test:443", lab.placeholder],
                {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": lab.ca})
    fact = facts_of(name, command)

    def allowed(lab):
        it = fact(lab, "allowed")
        assert (it["status"], it["body"]) == ("OK", "hello from the client"), it
        return "unary call"

    def denied(lab):
        for cell in ("denied host", "denied path"):
            it = fact(lab, cell)
            assert it["status"] == "PERMISSION_DENIED" and it["details"].startswith("denied_by_policy: "), it
        return "yes, as the details of `PERMISSION_DENIED`"

    def swapped(lab):
        it = fact(lab, "swapped")
        is_swapped(f"authorization: {it['metadata']['echo']}\nsha256: {it['body']}\n", lab)
        assert fact(lab, "misplaced")["status"] == "PERMISSION_DENIED"
        return "yes, in metadata"

    def big(lab):
        assert fact(lab, "big")["sha256"] == lab.big_sha
        return "yes, a server's stream"

    def streaming(lab):
        assert fact(lab, "talk")["lines"] == TURNS
        return "messages both ways in turn"

    return Client(name, told_by, allowed, denied, swapped, big, streaming)


STREAMS = [websocket("WebSocket (Python websocket-client)", "websocket-client", "`https_proxy`, `WEBSOCKET_CLIENT_CA_BUNDLE`",
                     "WEBSOCKET_CLIENT_CA_BUNDLE"),
           websocket("WebSocket (Python aiohttp)", "aiohttp", "`https_proxy` (`trust_env=True`), `SSL_CERT_FILE`", "SSL_CERT_FILE"),
           grpc()]
