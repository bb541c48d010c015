# SPDX-License-Identifier: Apache-2.0
"""pinhole policy reload: a running VM takes another policy, or nothing changes; a door that is started again has it too."""
import json
import os
import signal

import pytest

from conftest import wait_until

NAME = "reload"
URL = "http://origin.test/"
ALLOWED = "version: 1\ninternal: [\"origin.test:80 -> 127.0.0.1:1\"]\negress: {allow: [origin.test]}\n"


@pytest.fixture(scope="module")
def vm(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    (folder / "closed.yaml").write_text("version: 1\n")
    (folder / "open.yaml").write_text(ALLOWED)
    (folder / "broken.yaml").write_text("egres: {}\n")
    home.up(NAME, "--no-workspace", "--no-config", "--policy", folder / "closed.yaml")
    yield folder
    home.run("rm", "--force", NAME, timeout=120)


def code_of(home):
    """What the door's answer to the guest says: refused, or allowed, though nobody listens there."""
    done = home.exec(NAME, "pinhole-agent", "fetch", URL)
    text = done.stdout + done.stderr
    return next((code for code in ("denied_by_policy", "connect_error") if f"code={code}" in text), text)


def reload(home, folder, name, *words, expect=0):
    done = home.run("policy", "reload", NAME, "--no-config", "--policy", folder / name, *words)
    assert done.returncode == expect, (done.stdout, done.stderr)
    return done


def test_the_difference_is_shown_and_the_door_decides_anew(home, vm):
    assert code_of(home) == "denied_by_policy"
    before = home.json("status", NAME)["policy"]
    assert "nobody is there to be asked" in reload(home, vm, "open.yaml", expect=2).stderr
    assert home.json("status", NAME)["policy"] == before
    shown = reload(home, vm, "open.yaml", "--yes").stdout
    assert "+ allow origin.test\n" in shown and "+ internal origin.test:80 -> 127.0.0.1:1\n" in shown
    assert code_of(home) == "connect_error"
    now = home.json("status", NAME)["policy"]
    assert now != before and now in shown
    files = json.loads(home.run("policy", "check", "--no-config", "--json", "--policy", vm / "open.yaml").stdout)
    assert files["policy"] == now
    explained = home.run("policy", "explain", "--vm", NAME, "--json", "GET", URL)
    assert json.loads(explained.stdout)["rule"] == "open.yaml:3" and json.loads(explained.stdout)["policy"] == now
    assert "nothing has changed" in reload(home, vm, "open.yaml").stdout


def test_what_is_wrong_changes_nothing(home, vm):
    now = home.json("status", NAME)["policy"]
    refused = reload(home, vm, "broken.yaml", "--yes", expect=1).stderr
    assert 'unknown key "egres"; did you mean "egress"?' in refused
    (vm / "resolver.yaml").write_text(ALLOWED + "resolver: 9.9.9.9\n")
    assert "from the next start of the VM" in reload(home, vm, "resolver.yaml", "--yes", expect=1).stderr
    assert home.json("status", NAME)["policy"] == now and code_of(home) == "connect_error"
    assert not (home.vm_dir(NAME) / "policy.new").exists()


def test_a_door_that_is_started_again_has_the_new_policy(home, vm):
    now = home.json("status", NAME)["policy"]
    door = home.json("status", NAME)["processes"]["pep"]
    os.kill(door, signal.SIGKILL)
    assert wait_until(lambda: home.json("status", NAME)["processes"].get("pep", door) != door, 60)
    assert wait_until(lambda: code_of(home) == "connect_error", 60)
    assert home.json("status", NAME)["policy"] == now
    assert "- allow origin.test\n" in reload(home, vm, "closed.yaml", "--yes").stdout
    assert code_of(home) == "denied_by_policy"
