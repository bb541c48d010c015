# SPDX-License-Identifier: Apache-2.0
"""`pinhole image import`: disks as others make them become images that boot, and hostile ones are refused with nothing left behind."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading

import pytest

import cloud_disk
from conftest import BIN, BOOT_SECONDS, wait_until

MIB = 1 << 20
SYSTEMD_BOOT = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
TINY_BYTES = 192 * MIB
ROOT_AT = 66 * MIB
AS_IT_IS = ("--size", str(TINY_BYTES))  # not grown: gigabytes of nothing take their time to hash


class Store:
    """A store of this module's own: what is in it is what these tests put there."""

    def __init__(self, home):
        self.home = home
        self.data = home.root / "data"
        self.images = self.data / "pinhole/images"
        self.files = home.root / "disks"
        self.files.mkdir()
        self.env = {"XDG_DATA_HOME": str(self.data)}

    def run(self, *args, **kwargs):
        return self.home.run(*args, env=self.env, **kwargs)

    def json(self, *args, timeout=300):
        done = self.run(*args, "--json", timeout=timeout)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def names(self):
        """Locks stay, as they must: another process may be waiting for one."""
        return sorted(path.name for path in self.images.iterdir() if not path.name.startswith(".lock-")) if self.images.exists() else []

    def refused(self, *args, code, status=1):
        """The whole of what is said; and the store is as it was."""
        before = self.names()
        done = self.run("image", "import", *args, timeout=120)
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        assert done.stdout == ""
        assert self.names() == before
        if code:
            known = self.run("explain", code)
            assert known.returncode == 0, code
        return [line for line in done.stderr.splitlines() if not line.startswith("image ")]


@pytest.fixture(scope="module")
def store(home):
    made = Store(home)
    yield made
    for vm in home.json("ls"):
        home.run("rm", "--force", vm["name"], timeout=120)
    for folder in made.images.glob("*"):
        folder.chmod(0o700)
    shutil.rmtree(made.data)


def tiny_disk(folder, root_files, esp=True, numbers=(1, 2), boot_mib=0, loader=SYSTEMD_BOOT):
    """A whole disk of a small Linux, as far as a disk can tell without being started. `numbers`: of the EFI partition and the root;
    `boot_mib`: a /boot of its own between them, partition 16."""
    folder.mkdir()
    tree = folder / "tree"
    for name, content in root_files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(parents=True)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    disk = folder / "disk.raw"
    run = lambda *args: subprocess.run(list(map(str, args)), check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    root_at = ROOT_AT + boot_mib * MIB
    run("truncate", "-s", TINY_BYTES, disk)
    partitions = [(numbers[0], MIB, ROOT_AT, "ef00"), (numbers[1], root_at, None, "8304")] + ([(16, ROOT_AT, root_at, "ea00")] if boot_mib else [])
    run("sgdisk", "--clear", *(word for number, start, end, kind in partitions for word in (
        f"--new={number}:{start // 512}:{end // 512 - 1 if end else 0}", f"--typecode={number}:{kind}")), f"--change-name={numbers[1]}:root", disk)
    fat, root, boot = folder / "esp.img", folder / "root.img", folder / "boot.img"
    run("truncate", "-s", 65 * MIB, fat)
    run("mkfs.fat", "-F", "32", fat)
    if esp:
        run("mmd", "-i", fat, "::/EFI", "::/EFI/BOOT")
        run("mcopy", "-i", fat, loader, "::/EFI/BOOT/BOOTX64.EFI")
    run("truncate", "-s", TINY_BYTES - root_at - MIB, root)
    run("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, root)
    parts = [(fat, MIB), (root, root_at)]
    if boot_mib:
        run("truncate", "-s", boot_mib * MIB, boot)
        run("mke2fs", "-q", "-t", "ext4", boot)
        parts.append((boot, ROOT_AT))
    for part, at in parts:
        run("dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={at // MIB}", "conv=notrunc,sparse")
        part.unlink()
    return disk


TINY_ROOT = {
    "etc/os-release": 'NAME="Tiny"\nPRETTY_NAME="Tiny Linux 1"\n',
    "etc/environment": "LANG=C.UTF-8\n",
    "etc/cloud/cloud-init.disabled": "",
    "etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
    "usr/bin/cloud-init": "#!/bin/sh\n",
    "usr/lib/systemd/systemd": "\x7fELF",
    "usr/lib/systemd/system/systemd-networkd-wait-online.service": "[Unit]\n",
    "usr/sbin/init": "-> /usr/lib/systemd/systemd",
    "sbin": "-> usr/sbin",
    "boot/grub/grub.cfg": "set timeout=5\nlinux /vmlinuz root=/dev/vda2\n",
}


@pytest.fixture(scope="module")
def tiny(store):
    return tiny_disk(store.files / "tiny", TINY_ROOT)


def convert(source, target, form, *options):
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, *options, source, target], check=True, capture_output=True)
    return target


def guest_file(disk, path, offset=ROOT_AT):
    return subprocess.run(["/usr/sbin/debugfs", "-R", f"cat {path}", f"{disk}?offset={offset}"], check=True, capture_output=True).stdout


def guest_stat(disk, path, offset=ROOT_AT):
    done = subprocess.run(["/usr/sbin/debugfs", "-R", f"stat {path}", f"{disk}?offset={offset}"], check=True, capture_output=True, text=True)
    return " ".join(done.stdout.split())


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


# Whole disks in every form.

def test_what_is_imported_is_prepared_and_says_so(store, tiny):
    store.run("image", "rm", "tiny")
    made = store.json("image", "import", tiny, "--name", "tiny", "--sha256", sha256(tiny).upper(), "--size", "1G")
    imported = made["imported"]
    assert imported["layout"] == "Tiny Linux 1, systemd, cloud-init"
    assert (imported["boot"], imported["root"], imported["format"]) == ("systemd-boot", "ext4", "raw")
    assert imported["sha256"] == sha256(tiny) and imported["file_name"] == "disk.raw"
    assert imported["prepared"] == [
        "the agent, as a unit of systemd: pinhole-agent.service",
        "masked: systemd-networkd-wait-online.service",
        "cloud-init: the seed is its one source, and it configures no network",
        "names and proxy: the agent's, on loopback",
        "GRUB: no waiting for a key, and kernel lines on the serial port",
        "the root file system grown with its disk, to 1.0 GiB"]
    assert imported["shortfall"] == []
    disk = made["disk"]["path"]
    assert made["disk"]["size"] == 1 << 30 and sha256(disk) == made["disk"]["sha256"]
    assert guest_file(disk, "/usr/lib/pinhole/pinhole-agent") == (BIN / "pinhole-agent").read_bytes()
    assert "Mode: 0755" in guest_stat(disk, "/usr/lib/pinhole/pinhole-agent") and "User: 0 Group: 0" in guest_stat(disk, "/usr/lib/pinhole/pinhole-agent")
    assert guest_file(disk, "/etc/resolv.conf") == b"nameserver 127.0.0.1\n"
    assert guest_file(disk, "/etc/environment").startswith(b"LANG=C.UTF-8\nhttp_proxy=http://127.0.0.1:3128\n")
    assert guest_file(disk, "/boot/grub/grub.cfg") == b"set timeout=0\nlinux /vmlinuz root=/dev/vda2 console=ttyS0,115200\n"
    assert '"/dev/null"' in guest_stat(disk, "/etc/systemd/system/systemd-networkd-wait-online.service")
    assert "Inode" not in guest_stat(disk, "/etc/cloud/cloud-init.disabled")
    table = subprocess.run(["/usr/sbin/sgdisk", "--verify", "--print", disk], capture_output=True, text=True, check=True).stdout
    assert "No problems found" in table, table
    assert store.run("image", "verify", "tiny").stdout == "tiny: every file is as its manifest says\n"
    listed = store.run("image", "ls").stdout
    assert "disk.raw, Tiny Linux 1, systemd, cloud-init" in listed
    assert "content matches the manifest" in store.run("image", "inspect", "tiny").stdout


def test_a_disk_laid_out_like_ubuntus(store):
    """The root is partition 1 and comes last, GRUB's files are on a /boot of their own; snapd, netplan, systemd-resolved."""
    shim = store.files / "shim.efi"
    subprocess.run(["mcopy", "-n", "-i", f"{cloud_disk.raw('debian')}@@{4 * MIB}", "::/EFI/BOOT/BOOTX64.EFI", shim], check=True, capture_output=True)
    units = "usr/lib/systemd/system"
    disk = tiny_disk(store.files / "ubuntu", {
        "etc/os-release": "-> ../usr/lib/os-release",
        "usr/lib/os-release": 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nNAME="Ubuntu"\n',
        "etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
        "etc/netplan/50-cloud-init.yaml": "network: {version: 2}\n",
        "usr/bin/cloud-init": "#!/usr/bin/python3\n", "usr/bin/growpart": "#!/bin/sh\n",
        "usr/lib/systemd/systemd": "\x7fELF", "usr/sbin/init": "-> ../lib/systemd/systemd",
        "bin": "-> usr/bin", "sbin": "-> usr/sbin", "lib": "-> usr/lib", "boot": None,
        **{f"{units}/{name}": "[Unit]\n" for name in ("systemd-networkd-wait-online.service", "systemd-resolved.service",
                                                       "snapd.seeded.service", "apt-news.service")},
    }, numbers=(15, 1), boot_mib=16, loader=shim)
    made = store.json("image", "import", disk, "--name", "ubuntu", "--size", "256M")
    imported = made["imported"]
    assert (imported["layout"], imported["boot"]) == ("Ubuntu 24.04.1 LTS, systemd, cloud-init", "shim and GRUB")
    assert imported["shortfall"] == ["GRUB's configuration is not in its root file system: it may wait for a key, and the kernel may not "
                                     "speak on the serial port"]
    assert "the root file system grown with its disk, to 256.0 MiB" in imported["prepared"]
    got, at = made["disk"]["path"], ROOT_AT + 16 * MIB
    for name in ("systemd-networkd-wait-online.service", "systemd-resolved.service", "snapd.seeded.service", "apt-news.service"):
        assert '"/dev/null"' in guest_stat(got, f"/etc/systemd/system/{name}", at), name
    assert guest_file(got, "/etc/resolv.conf", at) == b"nameserver 127.0.0.1\n"
    assert '"../pinhole-agent.service"' in guest_stat(got, "/etc/systemd/system/sysinit.target.wants/pinhole-agent.service", at)
    store.run("image", "rm", "ubuntu")


def test_a_disk_laid_out_like_alpines(store):
    """BusyBox, OpenRC, no systemd and no cloud-init; a boot loader that firmware starts by its standard name."""
    disk = tiny_disk(store.files / "alpine", {
        "etc/os-release": 'NAME="Alpine Linux"\nPRETTY_NAME="Alpine Linux v3.20"\n',
        "etc/inittab": "::sysinit:/sbin/openrc sysinit\n::wait:/sbin/openrc default\ntty1::respawn:/sbin/getty 38400 tty1\n",
        "sbin/init": "-> /bin/busybox", "sbin/openrc": "\x7fELF", "bin/busybox": "\x7fELF", "usr/bin": None, "boot": None,
    })
    made = store.json("image", "import", disk, "--name", "alpine", "--size", "256M")
    imported = made["imported"]
    assert imported["layout"] == "Alpine Linux v3.20, OpenRC with BusyBox"
    assert imported["shortfall"] == ["there is no cloud-init: user-data does nothing, and your user is not made"]
    assert "the agent, started by /etc/inittab" in imported["prepared"]
    got = made["disk"]["path"]
    assert guest_file(got, "/etc/inittab").endswith(b"\n::respawn:/usr/lib/pinhole/start\n")
    assert "Mode: 0755" in guest_stat(got, "/usr/lib/pinhole/start")
    store.run("image", "rm", "alpine")


FORMS = {
    "qcow2": ("qcow2", ()),
    "compressed qcow2": ("qcow2", ("-c",)),
    "vhd": ("vpc", ("-o", "force_size=on")),
    "fixed vhd": ("vpc", ("-o", "subformat=fixed,force_size=on")),
    "vmdk": ("vmdk", ()),
    "stream-optimized vmdk": ("vmdk", ("-o", "subformat=streamOptimized")),
}


@pytest.mark.parametrize("form", [*FORMS, "gz", "xz", "zst", "bz2", "qcow2.xz"])
def test_every_form_gives_the_same_disk(store, tiny, form):
    """By its content: all of these files have one name that says nothing."""
    file = store.files / "download"
    file.unlink(missing_ok=True)
    tools = {"gz": "gzip", "xz": "xz", "zst": "zstd", "bz2": "bzip2"}
    if form in FORMS:
        convert(tiny, file, FORMS[form][0], *FORMS[form][1])
    else:
        inner = tiny if form != "qcow2.xz" else convert(tiny, store.files / "inner", "qcow2")
        with open(inner, "rb") as source, open(file, "wb") as target:
            subprocess.run([tools[form.rsplit(".")[-1]], "-1", "-c"], stdin=source, stdout=target, check=True)
    made = store.json("image", "import", file, "--name", "form", *AS_IT_IS)
    disk = pathlib.Path(made["disk"]["path"])
    with open(disk, "rb") as got, open(tiny, "rb") as wanted:
        # Up to the root, and the second table: what an import does not change.
        assert got.read(ROOT_AT) == wanted.read(ROOT_AT)
        got.seek(-33 * 512, os.SEEK_END)
        wanted.seek(-33 * 512, os.SEEK_END)
        assert got.read() == wanted.read()
    assert disk.stat().st_size == TINY_BYTES
    assert guest_file(disk, "/etc/os-release") == TINY_ROOT["etc/os-release"].encode()
    store.run("image", "rm", "form")


def test_checksums_are_compared_before_anything_else(store, tiny):
    good, sums = sha256(tiny), store.files / "SHA256SUMS"
    bad = "0" * 64
    assert store.refused(tiny, "--name", "x", "--sha256", bad, code="import_checksum_differs")[0] == \
        f"pinhole: cannot import {tiny}: its SHA-256 is {good}, not {bad}"
    nothing = store.files / "page.raw"
    nothing.write_text("<html>404</html>")
    assert "its SHA-256 is" in store.refused(nothing, "--name", "x", "--sha256", good, code="import_checksum_differs")[0]
    sums.write_text(f"{good}  other.raw\n")
    assert store.refused(tiny, "--name", "x", "--sums", sums, code="import_not_in_sums")[0] == \
        f"pinhole: cannot import {tiny}: {sums} has no SHA-256 for a file disk.raw"
    for line in (f"{good}  disk.raw", f"{good} *./images/disk.raw", f"SHA256 (disk.raw) = {good}"):
        sums.write_text(f"-----BEGIN PGP SIGNED MESSAGE-----\n\n{bad}  other.raw\n{line}\n")
        store.json("image", "import", tiny, "--name", "summed", *AS_IT_IS, "--sums", sums)
        store.run("image", "rm", "summed")


# Hostile and broken ones. Each has its allowed twin above.

def test_images_that_name_files_of_the_host_are_refused(store, tiny):
    qcow2 = store.files / "hostile.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", qcow2, "64M"], check=True)
    assert store.refused(qcow2, "--name", "x", code="import_needs_other_files")[0] == \
        f'pinhole: cannot import {qcow2}: it is a qcow2 disk image that takes content from elsewhere: the backing file "/etc/passwd"'
    qcow2.unlink()
    data = store.files / "data"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=on", qcow2, "64M"], check=True)
    assert store.refused(qcow2, "--name", "x", code="import_needs_other_files")[0].endswith("from elsewhere: an external data file")
    flat = convert(tiny, store.files / "flat.vmdk", "vmdk", "-o", "subformat=monolithicFlat")
    told = store.refused(flat, "--name", "x", code="")[0]
    assert told.startswith(f"pinhole: cannot import {flat}: ") or "flat.vmdk" in told
    base = convert(tiny, store.files / "base.vmdk", "vmdk")
    child = store.files / "child.vmdk"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", base, child], check=True)
    assert "takes content from elsewhere: " in store.refused(child, "--name", "x", code="import_needs_other_files")[0]


def test_disks_that_are_too_large_are_refused(store):
    huge = store.files / "huge.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", huge, "500T"], check=True)
    assert store.refused(huge, "--name", "x", code="import_too_large")[0] == \
        f"pinhole: cannot import {huge}: its disk would have 500.0 TiB, and 2.0 TiB is the most"


def test_a_decompression_bomb_is_refused(store):
    bomb = store.files / "bomb.zst"
    with open(bomb, "wb") as target:
        zeros = subprocess.Popen(["head", "-c", "9G", "/dev/zero"], stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-q", "-1", "-c"], stdin=zeros.stdout, stdout=target, check=True)
        zeros.wait()
    line = store.refused(bomb, "--name", "x", code="import_bomb")[0]
    assert line.startswith(f"pinhole: cannot import {bomb}: 8.0 GiB came out of ")


def test_what_is_cut_short_is_refused(store, tiny):
    whole = convert(tiny, store.files / "whole.qcow2", "qcow2").read_bytes()
    cut = store.files / "cut.qcow2"
    cut.write_bytes(whole[:len(whole) // 2])
    assert str(cut) in store.refused(cut, "--name", "x", code="")[0]
    raw = store.files / "cut.raw"
    with open(tiny, "rb") as source:
        raw.write_bytes(source.read(100 * MIB))
    assert str(raw) in store.refused(raw, "--name", "x", code="")[0]
    packed = store.files / "cut.gz"
    with open(tiny, "rb") as source:
        data = subprocess.run(["gzip", "-1", "-c"], stdin=source, capture_output=True, check=True).stdout
    packed.write_bytes(data[:len(data) // 2])
    assert store.refused(packed, "--name", "x", code="import_unreadable")[0].startswith(
        f"pinhole: cannot import {packed}: its gzip data cannot be read: ")


def test_what_is_no_disk_of_a_system_is_refused(store, tiny):
    page = store.files / "image.qcow2"
    page.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>\n")
    assert store.refused(page, "--name", "x", code="import_no_disk")[0].startswith(f"pinhole: cannot import {page}: it is an HTML page")
    no_boot = tiny_disk(store.files / "no-boot", TINY_ROOT, esp=False)
    assert str(no_boot) in store.refused(no_boot, "--name", "x", code="")[0]
    empty = tiny_disk(store.files / "empty", {"data/file": "x"})
    assert store.refused(empty, "--name", "x", code="import_no_root")[0] == \
        f"pinhole: cannot import {empty}: it has no root file system of a Linux: ext4 on partition 2"
    other = tiny_disk(store.files / "other", {"etc/os-release": 'PRETTY_NAME="Void"\n', "usr/bin/x": "", "sbin/init": "runit"})
    assert store.refused(other, "--name", "x", code="import_no_init")[0] == \
        f"pinhole: cannot import {other}: nobody would start the agent in it (Void, no init that is known)"
    assert store.refused(tiny, "--name", "x", "--size", "100M", code="import_size_smaller")[0] == \
        f"pinhole: cannot import {tiny} with 100.0 MiB: its disk has 192.0 MiB"


def test_an_encrypted_root_is_refused_and_one_that_cannot_be_read_gets_a_disk_of_tools(store, tiny):
    disk = store.files / "other-root.raw"
    shutil.copyfile(tiny, disk)
    with open(disk, "r+b") as file:
        file.seek(ROOT_AT)
        file.write(b"LUKS\xba\xbe\0\2" + bytes(4096))
    assert store.refused(disk, "--name", "x", code="import_encrypted")[0] == \
        f"pinhole: cannot import {disk}: its root file system is encrypted"
    with open(disk, "r+b") as file:
        file.seek(ROOT_AT)
        file.write(b"XFSB" + bytes(4096))
    made = store.json("image", "import", disk, "--name", "xfs", *AS_IT_IS)
    assert made["imported"]["root"] == "xfs" and len(made["imported"]["shortfall"]) == 1
    listing = subprocess.run(["bsdtar", "-tf", made["tools"]["path"]], capture_output=True, text=True)
    assert listing.returncode != 0 or {"pinhole-agent", "setup.sh"} <= set(listing.stdout.split())
    store.run("image", "rm", "xfs")


def test_a_name_that_is_taken_stays_what_it_is(store, tiny):
    store.run("image", "rm", "taken")
    store.json("image", "import", tiny, "--name", "taken", *AS_IT_IS)
    before = store.json("image", "inspect", "taken")
    assert store.refused(tiny, "--name", "taken", code="import_name_taken")[0] == \
        f'pinhole: cannot import {tiny} as "taken": there is an image of that name'
    assert store.json("image", "inspect", "taken") == before
    assert store.refused(tiny, "--name", "base", code="import_name_of_recipe")[0] == \
        f'pinhole: cannot import {tiny} as "base": that is a recipe\'s name'
    store.run("image", "rm", "taken")


def test_verify_names_what_changed(store, tiny):
    made = store.json("image", "import", tiny, "--name", "changed", *AS_IT_IS)
    disk = pathlib.Path(made["disk"]["path"])
    disk.chmod(0o600)
    stamp = disk.stat()
    with open(disk, "r+b") as file:
        file.seek(70 * MIB)
        file.write(b"another byte")
    os.utime(disk, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    done = store.run("image", "verify", "changed")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == \
        'pinhole: image "changed" is damaged: disk.raw is not what was imported (its SHA-256 differs)'
    found = json.loads(store.run("image", "verify", "changed", "--json").stdout)
    assert [item["code"] for item in found[0]["problems"]] == ["image_damaged"]
    store.run("image", "rm", "changed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_interrupted_leaves_nothing(store, number):
    """In the midst of it: the fifo's writer has it wait where half of the bytes are in."""
    before = store.names()
    process = subprocess.Popen([str(BIN / "pinhole"), "image", "import", str(cloud_disk.qcow2("openrc")), "--name", "half"],
                               env={**store.home.env, **store.env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines = []
    threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")), daemon=True).start()
    assert wait_until(lambda: any("converting" in line for line in lines), 60), lines
    process.send_signal(number)
    assert process.wait(30) == 130
    assert store.names() == before


def test_what_a_kill_left_is_gone_after_the_next_one(store, tiny):
    process = subprocess.Popen([str(BIN / "pinhole"), "image", "import", str(cloud_disk.qcow2("openrc")), "--name", "killed"],
                               env={**store.home.env, **store.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staged = lambda: [path for path in store.images.glob(".build-killed-*/out/disk.raw") if path.stat().st_size > 0]
    assert wait_until(staged, 60)
    process.kill()
    process.wait()
    assert [name for name in store.names() if name.startswith(".build-killed-")]
    store.json("image", "import", tiny, "--name", "after", *AS_IT_IS)
    assert not [name for name in store.names() if name.startswith(".build-")]
    store.run("image", "rm", "after")


# Systems that start.

def up(store, name, image):
    done = store.run("up", name, "--image", image, "--memory", "1G", timeout=BOOT_SECONDS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_a_debian_cloud_image_boots_and_is_verified(store, home):
    """shim, GRUB, the usual initramfs, all of cloud-init: as Debian ships it."""
    source = cloud_disk.qcow2("debian")
    sums = store.files / "SHA256SUMS"
    sums.write_text(f"{sha256(source)} *{source.name}\n")
    made = store.json("image", "import", source, "--name", "debian", "--sums", sums)
    imported = made["imported"]
    assert imported["layout"] == "Debian GNU/Linux 12 (bookworm), systemd, cloud-init"
    assert (imported["boot"], imported["root"], imported["format"]) == ("shim and GRUB", "ext4", "qcow2")
    assert imported["shortfall"] == []
    # The chain of signatures is as it came.
    with open(made["disk"]["path"], "rb") as got, open(cloud_disk.raw("debian"), "rb") as wanted:
        got.seek(4 * MIB)
        wanted.seek(4 * MIB)
        assert got.read(cloud_disk.FAT_BYTES) == wanted.read(cloud_disk.FAT_BYTES)
    up(store, "cloud", "debian")
    done = store.run("verify", "cloud", timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert int(home.sh("cloud", "df --output=size -B1M / | tail -1")) > 9000
    assert home.sh("cloud", "cat /run/cloud-init/result.json | grep -c NoCloud").strip() == "1"
    assert "networkd-wait-online" not in home.sh("cloud", "systemd-analyze blame")
    assert home.sh("cloud", f"id -un {os.getuid()}").strip() != ""
    home.ok("rm", "--force", "cloud", timeout=120)
    vhd = store.json("image", "import", cloud_disk.vhd("debian"), "--name", "debian-vhd")
    assert vhd["imported"]["format"] == "vhd"
    assert vhd["kernel"]["sha256"] == made["kernel"]["sha256"]
    assert vhd["imported"]["prepared"] == imported["prepared"]
    store.run("image", "rm", "debian")
    up(store, "from-vhd", "debian-vhd")
    done = store.run("verify", "from-vhd", timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    home.ok("rm", "--force", "from-vhd", timeout=120)
    store.run("image", "rm", "debian-vhd")


def test_a_system_without_systemd_and_cloud_init_boots_and_is_verified(store, home):
    packed = cloud_disk.zst("openrc")
    made = store.json("image", "import", packed, "--name", "openrc")
    assert made["imported"]["layout"] == "Debian GNU/Linux 12 (bookworm), OpenRC with System V init"
    assert (made["imported"]["boot"], made["imported"]["format"]) == ("systemd-boot", "raw+zstd")
    assert made["imported"]["shortfall"] == ["there is no cloud-init: user-data does nothing, and your user is not made"]
    up(store, "plain", "openrc")
    done = store.run("verify", "plain", timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert home.sh("plain", "cat /proc/1/comm").strip() == "init"
    assert home.sh("plain", "pidof systemd || echo none").strip() == "none"
    # Who kills it has it back.
    home.exec("plain", "sh", "-c", "pkill -9 -f '^/usr/lib/pinhole/pinhole-agent$'")
    assert wait_until(lambda: home.exec("plain", "true").returncode == 0, 60)
    home.ok("down", "plain", timeout=120)
    home.ok("rm", "--force", "plain", timeout=120)
    store.run("image", "rm", "openrc")
