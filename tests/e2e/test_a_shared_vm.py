# SPDX-License-Identifier: Apache-2.0
"""One VM, booted once: isolation, the door, the workspace, the evidence."""
import hashlib
import json
import os
import re

from conftest import alive, processes_of, wait_until


def fetch(home, vm, *words, timeout=180):
    return home.exec(vm, "/usr/lib/pinhole/pinhole-agent", "fetch", *words, timeout=timeout)


def audit(home, vm):
    return [json.loads(line) for line in (home.vm_dir(vm) / "audit/audit.jsonl").read_text().splitlines()]


def test_verify_proves_each_check(home, vm):
    verdict = home.json("verify", vm, timeout=300)
    assert verdict["ok"] is True and verdict["vm"] == vm
    assert len(verdict["checks"]) >= 20
    for check in verdict["checks"]:
        assert set(check) == {"name", "ok", "evidence", "ms"} and check["ok"], check
    notes = [record for record in audit(home, vm) if record["kind"] == "note"]
    assert re.fullmatch(r"verify: \d+ checks, 0 failed", notes[-1]["note"])


def test_an_old_marker_fails_verify(home, vm):
    marker = home.vm_dir(vm) / "boot-ok.txt"
    good = marker.read_text()
    old = re.sub(r"nonce=\w+", "nonce=" + "0" * 32, good)
    marker.write_text(old)
    try:
        done = home.run("verify", vm, "--json", timeout=300)
        assert done.returncode == 1
        failed = [check["name"] for check in json.loads(done.stdout)["checks"] if not check["ok"]]
        assert failed == ["boot marker"]
    finally:
        marker.write_text(good)
    # In the guest too: what an attacker puts back there is not this boot's.
    home.sh(vm, "cp /run/pinhole/boot-ok.txt /run/keep && sed -i 's/nonce=.*/nonce=00/' /run/pinhole/boot-ok.txt")
    try:
        done = home.run("verify", vm, "--json", timeout=300)
        failed = [check["name"] for check in json.loads(done.stdout)["checks"] if not check["ok"]]
        assert failed == ["boot marker, in the guest"]
    finally:
        home.sh(vm, "cp /run/keep /run/pinhole/boot-ok.txt")


def test_status_and_evidence(home, vm, workspace):
    status = home.json("status", vm)
    assert status["state"] == 1 and status["stages"]["cloud-init"]["ok"]
    folder = home.vm_dir(vm)
    marker = (folder / "boot-ok.txt").read_text()
    assert f"nonce={status['nonce']}" in marker and f"instance_id={status['instance_id']}" in marker
    assert (workspace / "boot-ok.txt").read_text() == marker
    fetched = (folder / "vsock-fetch.out").read_text().splitlines()
    assert fetched[0].startswith("status=200 ") and fetched[1].startswith("status=403 code=denied_by_policy ")
    assert "=== boot " in (folder / "console.log").read_text(errors="replace")
    heartbeat = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z VM state: 1 \(running\)$", re.M)
    assert wait_until(lambda: len(heartbeat.findall((folder / "status.log").read_text())) >= 3, 30)


def test_both_consoles_are_kept(home, vm):
    """Whichever of them a system writes to: the wrong one would look like a machine that says nothing."""
    home.sh(vm, "echo said-on-the-serial-port > /dev/ttyS0; echo said-on-the-virtio-console > /dev/hvc0")
    console = home.vm_dir(vm) / "console.log"
    assert wait_until(lambda: all(f"said-on-the-{name}" in console.read_text(errors="replace") for name in ("serial-port", "virtio-console")), 20)


def test_a_second_up_is_refused_and_harms_nothing(home, vm):
    done = home.run("up", vm)
    assert done.returncode != 0
    assert f'VM "{vm}" is already running' in done.stderr and "fix:" in done.stderr
    assert home.json("status", vm)["state"] == 1


def test_the_door_allows_and_refuses(home, vm, origin):
    body = hashlib.sha256(b"hello from the origin\n").hexdigest()
    allowed = fetch(home, vm, "-o", "/dev/null", "http://origin.test/x")
    assert allowed.returncode == 0 and f"sha256={body}" in allowed.stdout + allowed.stderr
    seen = len(origin.requests)
    for words, code in [
        (["http://not-allowed.example/"], "denied_by_policy"),
        (["-X", "DELETE", "http://origin.test/x"], "denied_by_policy"),
        (["-X", "POST", "-d", "x", "http://origin.test/elsewhere"], "denied_by_policy"),
        (["http://localhost/"], "ssrf_blocked"),
        (["http://169.254.169.254/latest/meta-data/"], "ssrf_blocked"),
    ]:
        refused = fetch(home, vm, *words)
        assert refused.returncode == 22, refused
        assert f"status=403 code={code}" in refused.stdout + refused.stderr, words
    assert len(origin.requests) == seen
    redirected = fetch(home, vm, "-L", "http://origin.test/redirect-out")
    assert redirected.returncode != 0 and "redirect_blocked" in redirected.stdout + redirected.stderr


def test_curl_through_the_proxy(home, vm):
    out = home.sh(vm, "curl -sS http://origin.test/x; curl -sS -o /tmp/p -w '%{http_code} ' http://nope.example/; cat /tmp/p")
    assert out.startswith("hello from the origin\n403 ")
    problem = json.loads(out.split("403 ", 1)[1])
    assert problem["code"] == "denied_by_policy" and problem["rule"] == "default" and problem["fix"]


def test_32_mib_down_byte_exact(home, vm, origin):
    out = home.sh(vm, "curl -sS http://origin.test/big | sha256sum", timeout=300)
    assert out.split()[0] == origin.big_sha


def test_32_mib_down_with_a_slow_reader(home, vm, origin):
    script = "import sys,time,hashlib;h=hashlib.sha256();f=sys.stdin.buffer\nfor i in range(40):\n h.update(f.read(100000)); time.sleep(0.02)\nh.update(f.read()); print(h.hexdigest())"
    out = home.sh(vm, f"curl -sS http://origin.test/big | python3 -c '{script}'", timeout=300)
    assert out.strip() == origin.big_sha


def test_32_mib_up_byte_exact(home, vm, origin):
    home.sh(vm, "curl -sS -o /var/tmp/big http://origin.test/big", timeout=300)
    out = home.sh(vm, "curl -sS -H Expect: --data-binary @/var/tmp/big http://origin.test/upload; rm /var/tmp/big", timeout=300)
    assert out.strip() == origin.big_sha


def test_a_cut_answer_is_no_success(home, vm):
    done = home.exec(vm, "curl", "-sS", "http://origin.test/cut")
    assert done.returncode in (18, 56), done


def test_files_belong_to_the_user_on_both_sides(home, vm, workspace):
    uid = os.getuid()
    (workspace / "from-host").write_text("h")
    assert home.sh(vm, "stat -c %u /workspace/from-host").strip() == str(uid)
    assert home.exec(vm, "touch", "/workspace/from-guest", uid=uid).returncode == 0
    assert (workspace / "from-guest").stat().st_uid == uid
    home.sh(vm, "touch /workspace/from-root")
    assert (workspace / "from-root").stat().st_uid not in (0, uid)
    home.sh(vm, "rm /workspace/from-root")


def test_no_setuid_and_no_device_reaches_the_host(home, vm, workspace):
    out = home.sh(vm, "cd /workspace; touch s; chmod 755 s && echo plain; chmod 4755 s && echo setuid; mknod d c 1 3 && echo device; mkfifo p && echo fifo; rm -f p", uid=os.getuid())
    assert out.split() == ["plain", "fifo"]
    assert (workspace / "s").stat().st_mode & 0o7777 == 0o755


def test_exec_passes_streams_and_status(home, vm):
    done = home.exec(vm, "sh", "-c", "cat; echo err >&2; exit 7", input="given")
    assert (done.returncode, done.stdout, done.stderr) == (7, "given", "err\n")
    assert home.exec(vm, "/no/such/program").returncode == 127
    assert home.exec(vm, "/etc/passwd").returncode == 126
    big = os.urandom(3 << 20)
    assert home.exec(vm, "cat", input=big, text=False).stdout == big


def test_the_audit_chain_verifies_and_follows_the_requests(home, vm):
    fetch(home, vm, "http://origin.test/counted")
    records = audit(home, vm)
    previous = None
    for line in (home.vm_dir(vm) / "audit/audit.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        if previous is not None:
            assert record["prev"] == hashlib.sha256(previous).hexdigest()
        previous = line
    mine = [record for record in records if record.get("url", "").endswith("/counted")]
    assert [record["kind"] for record in mine] == ["decision", "end"]
    assert mine[0]["action"] == "allow" and mine[0]["rule"] == "policy.yaml:4" and mine[1]["status"] == 200


def test_status_names_every_process(home, vm):
    assert set(home.json("status", vm)["processes"]) == {"supervisor", "pep", "vsockd", "virtiofsd", "fsguard", "qemu"}


def test_down_leaves_nothing_and_status_says_why(home, vm):
    # The last test of this file: the VM has served its purpose.
    pids = home.json("status", vm)["processes"].values()
    told = home.ok("down", vm, timeout=150).stdout
    assert told.startswith(f"{vm}: stopped\nrefused at the door: "), told
    assert "denied_by_policy" in told and "pinhole.internal" not in told, told
    assert not any(alive(pid) for pid in pids)
    assert processes_of(f"{home.root}/") == []
    status = home.json("status", vm)
    assert status["state"] == 0 and status["reason"] in ("pinhole down", "the guest powered off")
    assert not (home.root / "run/pinhole" / vm).exists()
    seal = audit(home, vm)[-1]
    assert seal["kind"] == "seal"
    head = re.findall(r"audit head: (\d+) (\w+)", (home.vm_dir(vm) / "status.log").read_text())[-1]
    assert head == (str(seal["seq"]), hashlib.sha256((home.vm_dir(vm) / "audit/audit.jsonl").read_bytes().splitlines()[-1]).hexdigest())
    home.check_logs()
    home.ok("rm", vm)
    assert not home.vm_dir(vm).exists()
