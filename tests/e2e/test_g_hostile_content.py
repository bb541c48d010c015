# SPDX-License-Identifier: Apache-2.0
"""A guest whose root leaves traps where the host will look: its disk, its workspace, names, its console. One machine."""
import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

VM = "trapper"
SECRET = "hosts-own-secret-7f3a"
# What a terminal would act on: C0 but for newline and tab, DEL, and C1 as UTF-8.
RAW = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
QUICK = 60  # seconds; nothing that is asked of the host here waits for a guest


@pytest.fixture(scope="module")
def place(home):
    """The host's side: a workspace with the machine's own disk in a folder of it, and things it must not reach."""
    root = home.root / "hostile-content"
    for name in ("work/machine", "elsewhere", "private"):
        (root / name).mkdir(parents=True)
    (root / "private/secret").write_text(SECRET + "\n")
    (root / "private/victim").write_text("untouched\n")
    image = pathlib.Path(home.env["HOME"]) / ".local/share/pinhole/images/base/disk.raw"
    disk = root / "work/machine/disk.raw"
    subprocess.run(["cp", "--sparse=always", image, disk], check=True)
    disk.chmod(0o600)
    # What a link in the folder's place would lead to: a disk that would boot.
    with open(disk, "rb") as good, open(root / "elsewhere/disk.raw", "wb") as other:
        other.write(good.read(1 << 20))
        other.truncate(1 << 22)
    yield root
    home.run("down", "--force", VM, timeout=150)


def up(home, place, **kwargs):
    return home.run("up", VM, "--disk", place / "work/machine/disk.raw", "--workspace", place / "work", timeout=480, **kwargs)


@pytest.fixture(scope="module")
def machine(home, place):
    done = up(home, place)
    assert done.returncode == 0, done.stderr
    return VM


def harmless(done):
    """Nothing that a terminal acts on, and nothing of the secret."""
    for said in (done.stdout, done.stderr):
        said = said.encode() if isinstance(said, str) else said
        assert not RAW.search(said), RAW.search(said)
        assert SECRET.encode() not in said
    return done


def refused(done, *words):
    harmless(done)
    assert done.returncode not in (0, 124), done
    for word in words:
        assert word in done.stderr, done.stderr
    assert "fix:" in done.stderr, done.stderr


QCOW2 = """
import os, struct, sys
backing = sys.argv[2].encode()
# Version 2: 72 bytes of header, then the name. All of it is boot code: partition table and GPT stay as they are.
header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\\xfb", 2, 72, len(backing), 16, 1 << 30, 0, 2, 0x30000, 0x10000, 1, 0, 0) + backing
assert len(header) <= 440, len(header)
disk = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(disk, header, 0)
os.fsync(disk)
"""


def test_it_writes_another_formats_header_onto_its_disk(home, place, machine):
    device = "/dev/$(lsblk -no pkname $(findmnt -no SOURCE /))"
    home.sh(machine, f"cat > /run/qcow2.py && python3 /run/qcow2.py {device} {place}/private/secret && sync", input=QCOW2)
    with open(place / "work/machine/disk.raw", "rb") as disk:
        head = disk.read(1024)
    assert head[:4] == b"QFI\xfb" and b"/private/secret" in head and head[512:520] == b"EFI PART"
    # The trap is one: a tool that believes the bytes names the secret.
    believed = subprocess.run(["qemu-img", "info", "-U", place / "work/machine/disk.raw"], capture_output=True, text=True)
    assert f"backing file: {place}/private/secret" in believed.stdout, believed


@pytest.mark.parametrize("plant, why", [
    ("ln -s {place}/private/secret {name}", "it is a symbolic link"),
    ("ln -s nowhere {name}", "it is a symbolic link"),
    ("mkfifo {name}", "it is a FIFO, not a file"),
    ("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"{name}\")'", "it is a socket"),
    ("mkdir {name}", "it is a folder, not a file"),
    ("truncate -s 10G {name}", "it is larger than"),
])
def test_traps_in_the_place_of_files_that_the_host_reads(home, place, machine, plant, why):
    work = place / "work"
    for name in ("pinhole.yaml", "policy.yaml", "user-data.yaml"):
        home.sh(machine, f"cd /workspace && {plant.format(place=place, name=name)}")
    try:
        refused(home.run("up", "other", cwd=work, timeout=QUICK), "pinhole.yaml", why)
        refused(home.run("trust", work, timeout=QUICK), "pinhole.yaml", why)
        refused(home.run("up", "other", "--no-config", "--policy", work / "policy.yaml", timeout=QUICK), "policy.yaml", why)
        refused(home.run("up", "other", "--no-config", "--user-data", work / "user-data.yaml", timeout=QUICK), "user-data.yaml", why)
        assert not home.vm_dir("other").exists()
    finally:
        home.sh(machine, "cd /workspace && rm -rf pinhole.yaml policy.yaml user-data.yaml")


def test_a_plain_file_in_their_place_is_read_and_not_believed(home, place, machine):
    home.sh(machine, "printf 'version: 1\\negress: {allow: [evil.example]}\\n' > /workspace/pinhole.yaml", uid=os.getuid())
    refused(home.run("up", "other", cwd=place / "work", timeout=QUICK), "is not trusted yet", "pinhole trust")
    shown = harmless(home.run("trust", place / "work", timeout=QUICK))
    assert shown.returncode == 2 and "evil.example" in shown.stdout
    home.sh(machine, "rm /workspace/pinhole.yaml")


def test_traps_in_the_place_of_files_that_are_written(home, place, machine):
    home.sh(machine, f"cd /workspace && rm -f boot-ok.txt vsock-fetch.out && ln -s {place}/private/victim boot-ok.txt && mkfifo vsock-fetch.out")
    marker = (home.vm_dir(machine) / "boot-ok.txt")
    assert not marker.is_symlink() and "nonce=" in marker.read_text()  # the evidence is not in the workspace
    assert (place / "private/victim").read_text() == "untouched\n"


def test_no_setuid_file_and_no_device(home, place, machine):
    home.exec(machine, "sh", "-c", "cd /workspace; cp /bin/sh suid; chmod 6755 suid; mknod null c 1 3; mknod disk b 254 0; install -m 4755 /bin/sh suid2")
    for path in (place / "work").iterdir():
        mode = path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID) or stat.S_ISDIR(mode), path
        assert not stat.S_ISBLK(mode) and not stat.S_ISCHR(mode), path


def test_names_and_lines_with_escapes(home, place, machine):
    escape = r"\033]0;owned\007\033[2J\302\233\033[31m"
    home.sh(machine, f"cd /workspace && touch \"$(printf '{escape}.pem')\" && printf '{escape}\\r\\nmarked end\\r\\n' > /dev/console")
    console = home.vm_dir(machine) / "console.log"
    assert b"\x1b]0;owned" in console.read_bytes()  # written down as it came …
    for words in (["status", machine], ["status", machine, "--json"], ["ls"], ["ls", "--json"], ["logs", machine], ["logs", "--console", machine],
                  ["logs", "--audit", machine], ["logs", "--supervisor", machine]):
        done = harmless(home.run(*words, timeout=QUICK, text=False))  # … and never shown so
        assert done.returncode == 0, done
    assert b"marked end" in home.run("logs", "--console", machine, text=False).stdout


def test_verify_holds_meanwhile(home, machine):
    assert harmless(home.run("verify", machine, timeout=300)).returncode == 0


def test_a_link_in_the_place_of_the_disks_folder_is_not_followed(home, place, machine):
    uid = os.getuid()
    assert home.exec(machine, "sh", "-c", f"cd /workspace && mv machine aside && ln -s {place}/elsewhere machine", uid=uid).returncode == 0
    home.ok("down", machine, timeout=150)
    before = (place / "elsewhere/disk.raw").read_bytes()
    refused(up(home, place), "a symbolic link has taken the place")
    assert (place / "elsewhere/disk.raw").read_bytes() == before
    (place / "work/machine").unlink()
    (place / "work/aside").rename(place / "work/machine")


def test_the_next_up_works_and_reads_no_secret(home, place, machine):
    done = harmless(up(home, place))
    assert done.returncode == 0, done.stderr
    assert "\\x1b]0;owned" in done.stderr and "looks like a credential" in done.stderr
    device = "/dev/$(lsblk -no pkname $(findmnt -no SOURCE /))"
    head = home.exec(machine, "sh", "-c", f"head -c 1024 {device}", text=False).stdout
    assert head[:4] == b"QFI\xfb" and head[512:520] == b"EFI PART"  # raw: its own bytes, and nobody else's
    assert home.sh(machine, f"head -c 4M {device} | grep -c '{SECRET}' || true").strip() == "0"
    assert (place / "private/victim").read_text() == "untouched\n"
    home.ok("down", machine, timeout=150)
    home.check_logs()
    home.ok("rm", machine)
    shutil.rmtree(place / "work", ignore_errors=True)
