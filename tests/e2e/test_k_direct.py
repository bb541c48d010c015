# SPDX-License-Identifier: Apache-2.0
"""A VM that boots directly: the agent is its first process, and does what systemd and cloud-init do elsewhere. One VM for all."""
import json
import os
import pathlib
import re
import time

import pytest

from conftest import BOOT_SECONDS, wait_until

VM = "direct_vm"  # not a host's name as it is
ME = os.getuid()


@pytest.fixture(scope="module")
def work(home):
    folder = home.root / "direct"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def vm(home, work, policy):
    home.up(VM, "--boot", "direct", "--no-config", "--workspace", work, "--policy", policy)
    yield VM
    home.run("rm", "--force", VM, timeout=120)


def up_again(home, work):
    return home.run("up", VM, "--boot", "direct", "--no-config", "--workspace", work, timeout=BOOT_SECONDS)


def test_there_is_neither_firmware_nor_cloud_init(home, vm, work):
    status = home.json("status", vm)
    assert status["state"] == 1 and status["boot"] == "direct"
    assert set(status["stages"]) == {"agent", "workspace", "door"} and all(stage["ok"] for stage in status["stages"].values()), status
    argv = pathlib.Path(f"/proc/{status['processes']['qemu']}/cmdline").read_bytes().decode().split("\0")
    assert "-kernel" in argv and not any("pflash" in word or "seed" in word or "virtio-net" in word for word in argv)
    assert not {"seed.iso", "efi-vars.fd"} & {path.name for path in home.vm_dir(vm).iterdir()}
    marker = (home.vm_dir(vm) / "boot-ok.txt").read_text()
    assert f"nonce={status['nonce']}" in marker and (work / "boot-ok.txt").read_text() == marker
    assert home.sh(vm, "cat /proc/1/comm; ls /sys/class/net; test -e /run/systemd || echo no systemd; "
                       "test -e /run/cloud-init || echo no cloud-init").split("\n") == \
        ["init", "lo", "no systemd", "no cloud-init", ""]


def test_verify_holds(home, vm):
    verdict = home.json("verify", vm, timeout=300)
    assert verdict["ok"] is True and len(verdict["checks"]) >= 20


def test_the_user_is_there_with_sudo(home, vm):
    name = home.sh(vm, f"getent passwd {ME} | cut -d: -f1").strip()
    done = home.exec(vm, "sh", "-c", "id -u; id -un; sudo -n id -u; hostname; getent ahostsv4 $(hostname) | head -1; cd ~ && pwd && ls -A",
                     uid=ME)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[:4] == [str(ME), name, "0", "direct-vm"], done.stdout
    assert lines[4].startswith("127.0.") and lines[4].split()[1:] == ["STREAM", "direct-vm"]
    assert lines[5] == f"/home/{name}" and ".bashrc" in lines
    assert done.stderr == ""  # sudo finds the machine's own name
    assert home.sh(vm, f"stat -c %U:%a /home/{name}; grep ^{name}: /etc/shadow | cut -d: -f2") == f"{name}:755\n!\n"


def test_what_programs_expect_is_mounted(home, vm, work):
    mounts = {line.split()[1]: line.split() for line in home.sh(vm, "cat /proc/mounts").splitlines()}
    assert mounts["/"][2] == "ext4" and mounts["/workspace"][2] == "virtiofs"
    assert {"nosuid", "nodev"} <= set(mounts["/workspace"][3].split(","))
    for folder, kind in {"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs",
                         "/run": "tmpfs", "/sys/fs/cgroup": "cgroup2"}.items():
        assert mounts[folder][2] == kind
    home.exec(vm, "sh", "-c", "echo from inside > /workspace/made; touch /tmp/mine /dev/shm/mine", uid=ME)
    assert (work / "made").read_text() == "from inside\n" and (work / "made").stat().st_uid == ME
    assert re.fullmatch(r"[0-9a-f]{32}\n", home.sh(vm, "cat /etc/machine-id"))
    assert home.sh(vm, "stat -c %a /tmp /dev/shm /dev/ptmx; ulimit -Hn").split() == ["1777", "1777", "666", "524288"]


def test_when_memory_runs_out_the_agent_is_the_last(home, vm):
    assert home.sh(vm, "cat /proc/$PPID/oom_score_adj /proc/self/oom_score_adj") == "-900\n0\n"
    done = home.exec(vm, "python3", "-c", "b = bytearray()\nwhile True: b += b'x' * (1 << 24)")
    assert done.returncode == 128 + 9, done  # killed; everybody else lives
    assert home.json("status", vm)["state"] == 1 and home.sh(vm, "echo alive") == "alive\n"


def test_who_lost_its_parent_is_reaped(home, vm):
    home.sh(vm, "for i in 1 2 3 4 5 6 7 8; do (sh -c 'exec sleep 0.1' &) ; done")
    zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    assert wait_until(lambda: home.sh(vm, f"pgrep sleep | wc -l; {zombies}").split() == ["0", "0"], 60)


def test_the_clock_follows_the_host(home, vm):
    assert abs(int(home.sh(vm, "date +%s")) - time.time()) < 5
    home.sh(vm, "date -s 2001-02-03 >/dev/null")
    assert wait_until(lambda: abs(int(home.sh(vm, "date +%s")) - time.time()) < 5, 30)
    assert "the clock was off" in (home.vm_dir(vm) / "console.log").read_text(errors="replace")


def test_an_agent_that_dies_is_started_again(home, vm):
    agent = int(home.sh(vm, "echo $PPID"))
    done = home.exec(vm, "sh", "-c", "kill -9 $PPID; sleep 60")
    assert done.returncode == 125, done
    assert wait_until(lambda: home.exec(vm, "true").returncode == 0, 60)
    assert int(home.sh(vm, "echo $PPID")) != agent
    assert wait_until(lambda: "guest: connected again, the same boot" in (home.vm_dir(vm) / "status.log").read_text(), 60)
    assert home.json("status", vm)["state"] == 1 and home.json("verify", vm, timeout=300)["ok"]


def test_down_is_quick_and_clean_and_the_disk_stays(home, vm, work):
    # Somebody who does not care for SIGTERM, and bytes that nobody has synced.
    home.sh(vm, "(trap '' TERM HUP; exec setsid sleep 1000) & echo kept > /var/kept; touch /tmp/gone")
    boot = home.json("status", vm)["boot_id"]
    begun = time.monotonic()
    home.ok("down", vm, timeout=120)
    took = time.monotonic() - begun
    assert took < 20, took  # one on a quiet machine; the polite limit is 60
    log = (home.vm_dir(vm) / "status.log").read_text()
    assert "qemu: exited with status 0" in log.rsplit("stopping", 1)[1]
    assert "the root stays writable" not in (home.vm_dir(vm) / "console.log").read_text(errors="replace")
    done = up_again(home, work)
    assert done.returncode == 0, done.stderr
    assert home.json("status", vm)["boot_id"] != boot
    assert home.sh(vm, "cat /var/kept; ls /tmp; dmesg | grep -ci 'recovery complete'; true") == "kept\n0\n"
    assert home.sh(vm, f"grep -c :{ME}: /etc/passwd; grep direct-vm /etc/hosts") == "1\n127.0.1.1 direct-vm\n::1 direct-vm\n"


def test_power_off_from_inside_is_the_end_of_the_machine(home, vm, work):
    home.exec(vm, "sh", "-c", "kill -38 1", timeout=60)  # SIGRTMIN+4, as systemd has it
    # Who asks while the supervisor ends gets no answer from it.
    assert wait_until(lambda: json.loads(home.run("status", vm, "--json").stdout)["state"] == 0, 60)
    assert "the guest powered off" in (home.vm_dir(vm) / "status.log").read_text().rsplit("(starting)", 1)[1]
    assert up_again(home, work).returncode == 0


def test_a_machine_without_its_root_says_so(home, vm, work):
    end = int(home.sh(vm, "cat /sys/block/vda/size")) - 34
    home.sh(vm, f"for at in 0 {end}; do dd if=/dev/zero of=/dev/vda bs=512 count=34 seek=$at conv=notrunc 2>/dev/null; done; sync")
    home.ok("down", vm, timeout=120)
    done = up_again(home, work)
    assert done.returncode == 1
    assert f'VM "{vm}" did not come up: it switched itself off' in done.stderr
    assert 'no disk "pinhole-disk" with a second partition appeared within 20 s; there are: vda' in done.stderr
