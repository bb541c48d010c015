# SPDX-License-Identifier: Apache-2.0
"""A browser in a VM of the image `chromium`: told of nothing, as it comes. PINHOLE_EVIDENCE=DIR keeps the screenshot.

Only with PINHOLE_TEST_BROWSER=1, on a machine with nothing else to do: an emulated browser takes minutes and has limits of its own."""
import json
import os
import pathlib
import shutil
import struct
import zlib

import pytest

from clients.inside import Vm
from clients.lab import HOSTS

SECONDS = 400  # the processor is emulated
NOT_ITS_OWN_BUSINESS = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                        "--disable-extensions")
EACH = 20
SITES = ("page.test", "styles.test", "pictures.test")
PAGE = """<!doctype html><html lang=en><title>A page</title>
{styles}
<style>body {{ font: 20px sans-serif; margin: 20px }} img {{ width: 60px; height: 60px; margin: 4px }}</style>
<h1>Three names, {count} files</h1><p id=told>not all is here</p><div>{pictures}</div>
{scripts}
<script>
addEventListener('load', () => {{
  const style = getComputedStyle(document.documentElement);
  const count = (holds) => Array.from({{length: {each}}}, (_, i) => i).filter(holds).length;
  document.getElementById('told').textContent = `scripts ${{count((i) => window['script' + i] === i)}}, ` +
    `styles ${{count((i) => style.getPropertyValue('--style' + i).trim() === String(i))}}, ` +
    `pictures ${{[...document.images].filter((it) => it.naturalWidth === 16).length}}`;
}});
</script></html>
"""


def png(colour):
    """16 by 16, all of one colour."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(colour) * 16) * 16
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + \
        chunk(b"IEND", b"")


def lay_out(www):
    each = range(EACH)
    for i in each:
        (www / f"script{i}.js").write_text(f"window.script{i} = {i};\n")
        (www / f"style{i}.css").write_text(f":root {{ --style{i}: {i}; }}\n")
        (www / f"picture{i}.png").write_bytes(png((i * 12, 255 - i * 12, 120)))
    (www / "page.html").write_text(PAGE.format(
        each=EACH, count=3 * EACH,
        scripts="".join(f"<script src=/script{i}.js></script>" for i in each),
        styles="".join(f"<link rel=stylesheet href=https://styles.test/style{i}.css>" for i in each),
        pictures="".join(f"<img src=https://pictures.test/picture{i}.png alt=picture>" for i in each)))


class BrowserVm(Vm):
    hosts = (*HOSTS, *SITES)


@pytest.fixture(scope="module")
def lab(home, tmp_path_factory):
    if not os.environ.get("PINHOLE_TEST_BROWSER"):
        pytest.skip("PINHOLE_TEST_BROWSER=1 runs it")
    home.ok("image", "build", "chromium", timeout=1800)
    it = BrowserVm(home, "browser", tmp_path_factory.mktemp("browser"), "--image", "chromium", "--cpus", "2", "--memory", "2GiB")
    lay_out(it.origin.www)
    yield it
    it.stop()
    shutil.rmtree(it.root)


def chromium(lab, *words):
    """The document that it has after all was loaded."""
    done = lab.run("chromium", "--headless", "--disable-gpu", *NOT_ITS_OWN_BUSINESS, "--dump-dom", *words, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_page_with_files_from_three_names(lab):
    shot = lab.folder("shots") / "page.png"
    document = chromium(lab, "--window-size=800,600", f"--screenshot={shot}", "https://page.test/page.html")
    assert f'id="told">scripts {EACH}, styles {EACH}, pictures {EACH}</p>' in document, document
    picture = shot.read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", picture[16:24]) == (800, 600)
    if kept := os.environ.get("PINHOLE_EVIDENCE"):
        shutil.copy(shot, pathlib.Path(kept) / "browser.png")
    urls = [record["url"] for record in map(json.loads, lab.audit().splitlines()) if record.get("action") == "allow"]
    for site in SITES:
        assert len({url for url in urls if url.startswith(f"https://{site}/")}) >= EACH, urls


def test_a_fourth_name_is_denied_readably(lab):
    document = chromium(lab, "https://denied.test/")
    assert "<h1>Pinhole: denied by policy</h1>\n<p>no rule allows host denied.test</p>" in document, document
    assert "<code>pinhole policy explain GET https://denied.test/</code>" in document, document
