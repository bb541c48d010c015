# SPDX-License-Identifier: Apache-2.0
"""Ordinary programs in a VM that are told of nothing: no proxy variable, no authority. One VM of the image `full` for all.

What is seen here fills the second table of docs/clients.md: after a change, PINHOLE_WRITE_DOCS=1 writes it anew."""
import concurrent.futures
import ipaddress
import json
import os
import pathlib
import shutil

import pytest

from clients.inside import BIG, CLIENTS, PROXY_VARIABLES, Vm
from clients.lab import PYTHON, VALUE
from clients.matrix import COLUMNS
from clients.page import is_shown

seen = {}


@pytest.fixture(scope="module")
def lab(home, tmp_path_factory):
    home.ok("image", "build", "full", timeout=1800)
    it = Vm(home, "inside", tmp_path_factory.mktemp("inside"), "--image", "full", "--cpus", "2", "--memory", "2GiB")
    yield it
    assert VALUE not in it.audit() and VALUE not in it.log()
    it.stop()
    shutil.rmtree(it.root)


def row(lab, client):
    """Its cells one after the other: a later one may want what an earlier one left."""
    ended = {}
    for column, cell in client.cells().items():
        try:
            ended[column] = cell if isinstance(cell, str) else cell(lab)
        except Exception as error:  # its test fails with it
            ended[column] = error
    return ended


@pytest.fixture(scope="module")
def rows(request, lab):
    """Two at a time, for the guest has two processors; the rows that these tests ask for."""
    asked = {item.callspec.params["client"].name for item in request.session.items if item.function is test_client}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {client.name: pool.submit(row, lab, client) for client in CLIENTS if client.name in asked}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(rows, client, column):
    words = rows[client.name].result(600)[column]
    if isinstance(words, Exception):
        raise words
    seen[client.name, column] = words


def test_the_document_shows_what_was_seen():
    if len(seen) < len(CLIENTS) * len(COLUMNS):
        pytest.skip("not every client was run, or one failed")
    columns = [column.replace("100 MiB", f"{BIG >> 20} MiB") for column in COLUMNS]
    rows = [(client.name, *(seen[client.name, column] for column in COLUMNS)) for client in CLIENTS]
    is_shown(pathlib.Path(__file__).name, ("client", *columns), rows)


LOOK_UP = """
import json, socket, ssl
def fetched(info):
    with socket.socket(*info[:3]) as plain:
        plain.settimeout(60)
        plain.connect(info[4])
        with ssl.create_default_context().wrap_socket(plain, server_hostname='plain.test') as stream:
            stream.sendall(b'GET /hello HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close\\r\\n\\r\\n')
            return stream.makefile('rb').read().rpartition(b'\\r\\n\\r\\n')[2].decode()
for name in ('AF_INET', 'AF_INET6', 'AF_UNSPEC'):
    infos = socket.getaddrinfo('plain.test', 443, getattr(socket, name), socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    print(json.dumps([(info[4][0], fetched(info)) for info in infos]))
"""


def test_each_family_has_an_address_that_can_be_reached(lab):
    done = lab.run(PYTHON, "-c", LOOK_UP)
    assert done.returncode == 0, done.stderr
    four, six, both = (json.loads(line) for line in done.stdout.splitlines())
    assert ipaddress.ip_address(four[0][0]) in ipaddress.ip_network("198.18.0.0/15")
    assert ipaddress.ip_address(six[0][0]).version == 6
    assert len(four) == len(six) == 1 and sorted(both) == sorted(four + six)
    assert {text for _, text in both} == {"hello from the origin\n"}


def test_nothing_went_by_a_proxy(lab):
    """Only what is captured says whose it is."""
    assert not set(PROXY_VARIABLES) & {line.partition("=")[0] for line in lab.run("env").stdout.splitlines()}
    records = [record for record in map(json.loads, lab.audit().splitlines())
               if record["kind"] == "decision" and any(host in record["url"] for host in (*lab.hosts, "denied.test"))]
    assert len(records) > 0
    assert {(record["url"], record.get("claim", {}).get("uid")) for record in records} == {(record["url"], os.getuid()) for record in records}
