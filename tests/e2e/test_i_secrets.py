# SPDX-License-Identifier: Apache-2.0
"""A VM's certificate authority and the user's secrets: who has what, and what a dead PEP leaves."""
import json
import os
import signal
import socket

import pytest

from conftest import wait_until

VALUES = {"FROM_ENV": "value-of-the-variable-1", "FROM_FILE": "value-of-the-file-22", "FROM_CMD": "value-of-the-command-3"}
POLICY = """version: 1
egress: {{allow: [api.example.com]}}
secrets:
  FROM_ENV: {{from: "env:E2E_KEY", hosts: [api.example.com], header: x-api-key, placeholder: sk-}}
  FROM_FILE: {{from: "file:{file}", hosts: [api.example.com]}}
  FROM_CMD: {{from: "cmd:cat {file}.cmd", hosts: [api.example.com]}}
  NOT_SET: {{from: "env:E2E_NOT_SET", hosts: [api.example.com]}}
"""


@pytest.fixture(scope="module")
def machine(home):
    sources = home.root / "sources"
    sources.mkdir()
    (sources / "key").write_text(VALUES["FROM_FILE"] + "\n")
    (sources / "key.cmd").write_text(VALUES["FROM_CMD"] + "\n")
    policy = sources / "policy.yaml"
    policy.write_text(POLICY.format(file=sources / "key"))
    up = home.run("up", "secrets", "--boot", "efi", "--no-config", "--no-workspace", "--policy", policy, timeout=480, env={"E2E_KEY": VALUES["FROM_ENV"]})
    assert up.returncode == 0, up.stderr
    assert "note: the variable E2E_NOT_SET for the secret NOT_SET is not set" in up.stderr
    yield "secrets"
    home.check_logs()
    home.ok("rm", "--force", "secrets", timeout=120)
    assert not home.vm_dir("secrets").exists()


def ask_secrets(home, values=None):
    """The supervisor's answer: which secrets have a value, and the placeholders."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(home.root / "run/pinhole/secrets/control/sock"))
        control.sendall(json.dumps({"v": 1, "op": "secrets", "values": values or {}}).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += control.recv(65536)
    return json.loads(answer)


def environment(home, machine):
    lines = home.exec(machine, "env").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_guest_trusts_its_own_authority(home, machine):
    anchor = "/usr/local/share/ca-certificates/pinhole.crt"
    assert home.sh(machine, f"cat {anchor}") == (home.vm_dir(machine) / "authority/ca.pem").read_text()
    # By the folder of hashes, as openssl and Python look, and by the bundle, as curl and git do.
    assert home.sh(machine, f"openssl verify {anchor}").strip() == f"{anchor}: OK"
    home.sh(machine, f"openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt {anchor}")
    for name in ("ca.key", "ca.pem", "placeholder.seed"):
        assert (home.vm_dir(machine) / "authority" / name).stat().st_mode & 0o777 == 0o600


def test_guest_has_placeholders_and_nobody_else_has_values(home, machine):
    told = ask_secrets(home)
    assert told["missing"] == ["NOT_SET"] and told["problems"] == []
    seen = environment(home, machine)
    for name, placeholder in told["placeholders"].items():
        assert seen[name] == placeholder and "PINHOLE_" in placeholder
    assert seen["FROM_ENV"].startswith("sk-PINHOLE_")
    for folder in ("state", "run"):
        for path in (home.root / folder).rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                assert not any(value.encode() in content for value in VALUES.values()), path
    for pid in home.json("status", machine)["processes"].values():
        for name in ("environ", "cmdline"):
            try:
                content = open(f"/proc/{pid}/{name}", "rb").read()
            except PermissionError:
                continue  # not dumpable: not even the user may look
            assert not any(value.encode() in content for value in VALUES.values()), (pid, name)


def test_a_pep_that_starts_again_has_what_can_be_read_again(home, machine):
    before = ask_secrets(home)["placeholders"]
    old = home.json("status", machine)["processes"]["pep"]
    os.kill(old, signal.SIGKILL)
    assert wait_until(lambda: home.json("status", machine)["processes"].get("pep", old) != old, 20)
    assert wait_until(lambda: ask_secrets(home).get("missing") == ["FROM_ENV", "NOT_SET"], 20)
    assert ask_secrets(home)["placeholders"] == before

    refused = ask_secrets(home, {"FROM_ENV": "short"})
    assert refused["problems"] == ["the value of the secret FROM_ENV cannot be used: it is shorter than 16 characters, and would be "
                                   "found in texts that have nothing to do with it"]
    assert ask_secrets(home, {"FROM_ENV": VALUES["FROM_ENV"]})["missing"] == ["NOT_SET"]
