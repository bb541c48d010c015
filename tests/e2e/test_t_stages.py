# SPDX-License-Identifier: Apache-2.0
"""Boots that fail, each for a reason that is named at once, and what becomes of a machine that is up: docs/boot.md, docs/faults.md."""
import json
import os
import pty
import re
import select
import struct
import subprocess
import time

import pytest

from conftest import BIN, BOOT_SECONDS, processes_of, wait_until

DIRECT, STAGED = "stages-direct", "stages-efi"

# One module fails, one key has the wrong type, and a unit fails: the machine comes up all the same.
USER_DATA = """#cloud-config
ssh_deletekeys: "neither yes nor no"
write_files:
  - path: /etc/systemd/system/stumbles.service
    content: |
      [Service]
      Type=oneshot
      ExecStart=/bin/false
runcmd:
  - systemctl start stumbles.service
  - sh -c 'exit 3'
"""


def log_of(home, name):
    return (home.vm_dir(name) / "status.log").read_text()


def status(home, name):
    return json.loads(home.run("status", name, "--json").stdout)


def up_fails(home, name, *args, within):
    begun = time.monotonic()
    done = home.run("up", name, *args, timeout=BOOT_SECONDS)
    took = time.monotonic() - begun
    assert done.returncode == 1, done.stdout + done.stderr
    assert took < within, f"{took} s\n{done.stderr}"
    assert processes_of(f"-name\0{name}") == []
    return done.stderr


def failed(home, name, code, stage):
    """The same reason everywhere: status, its JSON, ls and status.log."""
    told = status(home, name)
    assert (told["state"], told["code"], told["stage"]) == (3, code, stage), told
    assert told["reason"] and told["fix"]
    shown = home.run("status", name).stdout
    assert code in shown and told["reason"][:150] in shown
    assert told["reason"][:150] in home.run("ls").stdout
    assert f" failure {code}" in log_of(home, name).splitlines()[-2]
    return told["reason"]


# By firmware

def boot_file(code):
    """The smallest EFI application: PE32+ (PE/COFF specification; UEFI, chapter 2.1), with this for its code."""
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 2, 0, 0, 0, 0xF0, 0x0206)
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, 0x200, 0, 0, 0x1000, 0x1000)
    optional += struct.pack("<QIIHHHHHHIIIIHHQQQQII", 0, 0x1000, 0x200, 0, 0, 0, 0, 0, 0, 0, 0x3000, 0x200, 0, 10, 0,
                            0x100000, 0x1000, 0x100000, 0x1000, 0, 16)
    directories = [(0, 0)] * 16
    directories[5] = (0x2000, 12)
    optional += b"".join(struct.pack("<II", *one) for one in directories)
    sections = b".text\0\0\0" + struct.pack("<IIIIIIHHI", len(code), 0x1000, 0x200, 0x200, 0, 0, 0, 0, 0x60000020)
    sections += b".reloc\0\0" + struct.pack("<IIIIIIHHI", 12, 0x2000, 0x200, 0x400, 0, 0, 0, 0, 0x42000040)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    head = (head.ljust(0x80, b"\0") + coff + optional + sections).ljust(0x200, b"\0")
    return head + code.ljust(0x200, b"\x90") + struct.pack("<IIHH", 0x2000, 12, 0, 0).ljust(0x200, b"\0")


def make_disk(folder, code):
    """A GPT disk whose EFI partition holds that boot file."""
    disk, esp, file = folder / "disk.raw", folder / "esp.raw", folder / "boot.efi"
    disk.write_bytes(b"")
    os.truncate(disk, 40 << 20)
    subprocess.run(["/usr/sbin/sgdisk", "-n", "1:2048:+36M", "-t", "1:ef00", disk], check=True, capture_output=True)
    esp.write_bytes(b"")
    os.truncate(esp, 36 << 20)
    file.write_bytes(boot_file(code))
    for words in (["mformat", "-F", "-i", esp, "::"], ["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"],
                  ["mcopy", "-i", esp, file, "::/EFI/BOOT/BOOTX64.EFI"]):
        subprocess.run(words, check=True, capture_output=True)
    with open(disk, "r+b") as out:
        out.seek(2048 * 512)
        out.write(esp.read_bytes())
    return disk


def test_a_boot_file_that_boots_nothing_is_named(home):
    folder = home.root / "stages-disk"
    folder.mkdir()
    disk = make_disk(folder, b"\x31\xc0\xc3")  # xor eax, eax; ret
    said = up_fails(home, "stages-disk", "--disk", disk, "--no-workspace", "--no-config", within=150)
    assert 'VM "stages-disk" did not come up: its boot file ended without booting anything: BdsDxe: starting Boot0001' in said
    assert "the console's last lines:" in said and "fix:  pinhole logs --console stages-disk" in said
    failed(home, "stages-disk", "boot_file_ended", "boot loader")
    assert re.search(r"stage firmware: ok after \d+\.\d s: BdsDxe: starting", log_of(home, "stages-disk"))
    home.ok("rm", "stages-disk")


@pytest.fixture(scope="module")
def staged(home):
    seed = home.root / "stages.yaml"
    seed.write_text(USER_DATA)
    said = home.up(STAGED, "--no-workspace", "--no-config", "--user-data", seed).stderr
    yield STAGED, said
    home.run("rm", "--force", STAGED, timeout=120)


def test_what_cloud_init_refused_or_failed_at_is_shown_and_kept(home, staged):
    name, said = staged
    told = status(home, name)
    assert told["state"] == 1 and told["stage"] == "" and told["code"] == ""
    detail = told["stages"]["cloud-init"]["detail"]
    assert "ssh_deletekeys" in detail and "stumbles.service" in detail and "scripts" in detail, detail
    assert not told["stages"]["cloud-init"]["ok"]
    note = f'VM "{name}": cloud-init: '
    assert f"note: {note}" in said and "stumbles.service" in said and "cloud-init status --long" in said
    assert told["notes"][0].startswith(note) and note in home.run("status", name).stdout
    assert "stage cloud-init: failed" in log_of(home, name) and "stumbles.service" in log_of(home, name)


def test_every_stage_is_told_with_its_time_and_nobody_waits_for_a_network(home, staged):
    name, said = staged
    told = status(home, name)
    assert set(told["boot_stages"]) == {"firmware", "boot loader", "kernel", "init"}
    assert told["boot_stages"]["init"]["detail"] == "the agent said hello"
    for stage in ("firmware", "boot loader", "kernel", "init", "agent", "door"):
        assert re.search(rf"^  ok   {stage} +\d+\.\d s", said, re.MULTILINE), said
    # Some 20 s on a quiet machine, where a network that somebody waits for would add two minutes; a busy one is slow from the start.
    before = sum(told["boot_stages"][stage]["ms"] for stage in ("kernel", "init"))
    assert told["stages"]["cloud-init"]["ms"] < max(110_000, 6 * before)


def test_a_guest_that_reboots_without_its_agent_is_told_so(home, staged):
    name, _ = staged
    home.sh(name, "systemctl -q disable pinhole-agent.service && sync")
    home.exec(name, "sh", "-c", "(sleep 1; systemctl reboot) >/dev/null 2>&1 &")
    assert wait_until(lambda: status(home, name)["reason"] == "the guest reboots", 60), status(home, name)
    assert status(home, name)["stage"] in ("firmware", "boot loader", "kernel", "init")
    # It has been up, so it is told and left alone. Where the machine is so busy that cloud-init has not ended by then, the
    # stage is late first.
    told = ("the guest has booted, but no agent said hello: ", "stage init took longer than ")
    assert wait_until(lambda: any(text in status(home, name)["reason"] for text in told), BOOT_SECONDS), status(home, name)
    assert status(home, name)["state"] == 1 and any(f"guest: VM \"{name}\" did not come up: " in line
                                                    for line in log_of(home, name).splitlines())
    home.ok("down", "--force", name, timeout=120)


@pytest.fixture(scope="module")
def broken(home):
    yield "stages-broken"
    home.run("rm", "--force", "stages-broken", timeout=120)


def change_disk(home, name, script):
    """A direct boot needs neither the ESP nor systemd, so it can take them away."""
    home.up(name, "--boot", "direct", "--no-workspace", "--no-config")
    home.sh(name, script + "; sync")
    home.ok("down", name, timeout=120)


def test_a_kernel_that_panics_ends_the_start_at_once(home, broken):
    name = broken
    change_disk(home, name, "ln -sf /nonexistent /sbin/init")
    said = up_fails(home, name, "--boot", "efi", "--no-workspace", "--no-config", within=150)
    assert f'VM "{name}": the guest\'s kernel panicked because its first process ended or is missing: ' \
        "Attempted to kill init!" in said, said
    failed(home, name, "kernel_panic_init", "kernel")


def test_an_esp_that_the_guest_has_emptied_is_told_by_the_firmware(home, broken):
    name = broken
    change_disk(home, name, "dd if=/dev/zero of=/dev/vda1 bs=1M count=4 conv=notrunc 2>/dev/null")
    said = up_fails(home, name, "--boot", "efi", "--no-workspace", "--no-config", within=150)
    assert "its firmware found nothing to boot: BdsDxe: failed to load Boot0001" in said
    assert "UEFI Interactive Shell" in said
    failed(home, name, "no_bootable_device", "firmware")


# Directly

def up_direct(home, *args, **kwargs):
    return home.ok("up", DIRECT, "--boot", "direct", "--no-workspace", "--no-config", *args, timeout=BOOT_SECONDS, **kwargs)


@pytest.fixture
def direct(home):
    up_direct(home)
    yield DIRECT
    home.run("rm", "--force", DIRECT, timeout=120)


def on_a_terminal(home, *args):
    """What a command writes to its terminal, and its exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(BIN / "pinhole"), ["pinhole", *args], {**home.env, "TERM": "xterm"})
    said = b""
    while True:
        select.select([terminal], [], [], BOOT_SECONDS)
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


def test_a_terminal_shows_one_line_that_goes_away(home):
    name = "stages-tty"
    way = ("--boot", "direct", "--no-workspace", "--no-config")
    ended, said = on_a_terminal(home, "up", name, *way)
    try:
        assert ended == 0, said
        assert re.search(rf"\r\x1b\[Kstarting {name}: kernel… +\d+ s", said), said
        # What is left when each redrawn line has been erased: notes before the start, and the result.
        left = [line.rsplit("\x1b[K", 1)[-1].strip() for line in said.replace("\r\n", "\n").split("\n")]
        assert not any("starting" in line or line.startswith("ok ") for line in left), left
        assert f"{name}: running" in left
        home.ok("down", name, timeout=120)
        quiet = home.ok("up", name, *way, "--quiet", timeout=BOOT_SECONDS)
        assert quiet.stderr == "" and quiet.stdout == f"{name}: running\n"
    finally:
        home.run("rm", "--force", name, timeout=120)


def test_want_of_memory_and_of_space_in_the_guest_are_noticed(home, direct):
    done = home.exec(direct, "python3", "-c", "b = bytearray()\nwhile True: b += b'x' * (1 << 24)")
    assert done.returncode == 128 + 9, done
    assert wait_until(lambda: "out of memory" in status(home, direct)["noticed"], 30), status(home, direct)
    assert "Killed process" in status(home, direct)["noticed"]["out of memory"]["line"]
    assert "console: out of memory: " in log_of(home, direct)
    assert home.exec(direct, "sh", "-c", "fallocate -l 100G /big || dd if=/dev/zero of=/big bs=4M count=0 seek=1; "
                                         "fallocate -l $(($(df --output=avail -B1 / | tail -1) - 1000000)) /big").returncode == 0
    assert wait_until(lambda: "guest's disk" in status(home, direct)["noticed"], 30), status(home, direct)
    assert "guest: its disk is full: " in log_of(home, direct) and "full: " in home.run("status", direct).stdout
    home.sh(direct, "rm /big; sync")
    assert wait_until(lambda: "guest's disk" not in status(home, direct)["noticed"], 30)
    assert status(home, direct)["state"] == 1
    # A panic that somebody merely writes to the console: the guest goes on speaking, so it lives.
    home.sh(direct, "echo '[    1.000000] Kernel panic - not syncing: not really' > /dev/ttyS0")
    assert wait_until(lambda: "kernel panic" in status(home, direct)["noticed"], 30)
    beats = status(home, direct)["heartbeats"]
    assert wait_until(lambda: status(home, direct)["heartbeats"] >= beats + 5, 90)
    assert status(home, direct)["state"] == 1


def ends(home, name):
    assert wait_until(lambda: status(home, name)["state"] in (0, 3) and processes_of(f"-name\0{name}") == [], 60), status(home, name)
    return status(home, name)


def test_a_panic_is_the_end_of_a_machine_with_its_reason(home, direct):
    home.exec(direct, "sh", "-c", "echo c > /proc/sysrq-trigger", timeout=60)
    ends(home, direct)
    assert failed(home, direct, "kernel_panic", "").endswith("the guest's kernel panicked: sysrq triggered crash")
    up_direct(home)
    assert status(home, direct)["state"] == 1 and status(home, direct)["code"] == ""
    # The machine ends where it cannot start again, and says which of the two it was.
    home.exec(direct, "reboot", "-f", timeout=60)
    told = ends(home, direct)
    assert (told["state"], told["reason"]) == (0, "the guest rebooted, which ends a VM that boots directly")
    up_direct(home)
    home.exec(direct, "poweroff", "-f", timeout=60)
    told = ends(home, direct)
    assert (told["state"], told["reason"]) == (0, "the guest powered off")


def test_a_disk_that_is_taken_away_is_noticed(home, direct):
    home.exec(direct, "sh", "-c", "d=$(readlink -f /sys/block/vda/device/..); echo 1 > $d/remove; ls -R / >/dev/null 2>&1; "
                                  "dd if=/dev/zero of=/lost bs=1M count=8 2>/dev/null; sync", timeout=60)
    assert wait_until(lambda: "disk error" in status(home, direct).get("noticed", {}), 60), status(home, direct)
    assert "console: disk error: " in log_of(home, direct)
    home.ok("down", "--force", direct, timeout=120)
