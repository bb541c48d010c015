# SPDX-License-Identifier: Apache-2.0
"""Real clients through the door, each set up the way its own documentation says, and once more with their connections captured
instead (captured.py). Needs no VM.

The origins speak TLS under an authority of their own, which only the door trusts (`ca:`); the clients trust the door's. What is seen
here fills the table of docs/clients.md: after a change, PINHOLE_WRITE_DOCS=1 writes it anew."""
import pathlib
import shutil

import pytest

from clients.lab import VALUE, Lab
from clients.matrix import COLUMNS, HTTP_CLIENTS
from clients.page import is_shown
from clients.streams import STREAMS
from clients.tools import TOOLS

CLIENTS = HTTP_CLIENTS + TOOLS + STREAMS
seen = {}


@pytest.fixture(scope="module", params=["proxied", "captured"])
def lab(request, tmp_path_factory):
    it = Lab(tmp_path_factory.mktemp("clients"), request.param == "captured")
    yield it
    it.stop()
    # Nothing of what went on may have put the value where it does not belong.
    assert VALUE not in it.audit() and VALUE not in it.log()
    for word in ("AddressSanitizer", "LeakSanitizer", "runtime error", "internal error"):
        assert word not in it.log(), it.log()
    shutil.rmtree(it.root)  # pytest would keep a gigabyte of it for the next runs


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(lab, client, column):
    assert lab.pep.poll() is None, lab.log()
    cell = client.cells()[column]
    words = cell if isinstance(cell, str) else cell(lab)
    assert seen.setdefault((client.name, column), words) == words  # captured or not


def test_without_the_doors_authority_nothing_is_sent(lab):
    done = lab.run("curl", "-sS", "--proxy", lab.proxy, "https://origin.test/hello")
    assert done.returncode == 60 and done.stdout == ""
    assert '"code":"tls_error"' in lab.audit()


def test_the_document_shows_what_was_seen():
    if len(seen) < len(CLIENTS) * len(COLUMNS):
        pytest.skip("not every client was run, or one failed")
    rows = [(client.name, client.told_by, *(seen[client.name, column] for column in COLUMNS)) for client in CLIENTS]
    is_shown(pathlib.Path(__file__).name, ("client", "told by", *COLUMNS), rows)
