# SPDX-License-Identifier: Apache-2.0
"""Kernels, disks and variable stores that are no such thing, or broken: said before anything starts, by content, with a way out;
and nothing changes on disk. The first three rows of the table of faults."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import subprocess

import pytest

from conftest import BIN, wait_until
from small_disk import efi_program, tool

PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>".ljust(286)
HTML = "an HTML page, most likely a saved error page"
TEMPLATE = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def snapshot(folder):
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            info = path.lstat()
            found.append((str(path), info.st_size, info.st_mtime_ns if path.is_file() else 0))
    # What any start leaves: the answer about KVM, the lock and the use of an image.
    return sorted(item for item in found if not re.search(r"/(kvm-probe|\.lock-|\.used-)", item[0]))


@pytest.fixture
def refused(home, tmp_path):
    """Runs `pinhole up`; expects exactly this error and its fix, and nothing changed in the state or beside the artifact."""
    def check(message, fix, *args, **kwargs):
        before = snapshot(home.root / "state"), snapshot(tmp_path)
        done = home.run(*args, cwd=tmp_path, **kwargs)
        assert done.returncode == 1, done
        lines = done.stderr.splitlines()
        assert lines[0] == f"pinhole: {message}", done.stderr
        assert lines[-1] == f"  fix:  {fix}", done.stderr
        assert (snapshot(home.root / "state"), snapshot(tmp_path)) == before
        return done

    return check


def accepted(home, path, cwd):
    """Gets past the disk, to a workspace that is missing: nothing starts."""
    done = home.run("up", "bad", "--disk", path, "--workspace", "/nowhere", cwd=cwd)
    return "as the workspace: No such file or directory" in done.stderr, done


# Row 1: the kernel is a saved error page.

@pytest.fixture
def own_image(home, tmp_path):
    """A copy of the image under a name that no recipe has, in a store of its own."""
    base = pathlib.Path(home.env["HOME"]) / ".local/share/pinhole/images/base"
    folder = tmp_path / "data/pinhole/images/mine"
    folder.mkdir(parents=True, mode=0o700)
    for name in ("disk.raw", "vmlinuz", "initrd", "direct.cpio"):
        try:
            os.link(base / name, folder / name)
        except OSError:
            subprocess.run(["cp", "-p", "--sparse=always", base / name, folder / name], check=True)
    (folder / "manifest.yaml").write_text((base / "manifest.yaml").read_text().replace("name: 'base'", "name: 'mine'", 1))
    return folder


def test_a_kernel_that_is_an_error_page(home, refused, own_image, tmp_path):
    env = {"XDG_DATA_HOME": str(tmp_path / "data")}
    up = ("up", "bad", "--no-config", "--image", "mine", "--workspace", "/nowhere")
    assert "as the workspace: No such file or directory" in home.run(*up, env=env).stderr  # the good one gets this far
    kernel = own_image / "vmlinuz"
    size, kernel_sha = kernel.stat().st_size, subprocess.run(["sha256sum", kernel], capture_output=True, text=True).stdout.split()[0]
    kernel.unlink()
    kernel.write_bytes(PAGE)
    # As people meet it: the file was replaced after it was checked.
    done = refused(f'image "mine" is damaged: vmlinuz has 286 bytes, not {size}', "pinhole image build --refresh mine", *up, env=env)
    assert HTML in done.stderr
    # And it was the error page that came into the store.
    manifest = own_image / "manifest.yaml"
    text = manifest.read_text()
    part = text.index("vmlinuz:")
    text = text[:part] + re.sub(r"mtime_ns: \d+", f"mtime_ns: {kernel.stat().st_mtime_ns}", text[part:].replace(str(size), "286", 1), count=1)
    manifest.write_text(text.replace(kernel_sha, subprocess.run(["sha256sum", kernel], capture_output=True, text=True).stdout.split()[0]))
    refused(f'image "mine": cannot boot the kernel {kernel}: it has 286 bytes and is {HTML}, not a Linux kernel',
            "make the image anew: pinhole image build --refresh mine", *up, env=env)


# Row 2: the disk is not raw.

@pytest.mark.parametrize("content,message,fix", [
    (PAGE, f"cannot boot the disk {{path}}: it has 286 bytes and is {HTML}, not a disk image",
     "fetch or build the disk image again, and compare its checksum with the published one"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
     "cannot boot the disk {path}: it has 64 bytes and is a Git LFS pointer, not the file itself (git lfs pull), not a disk image",
     "fetch or build the disk image again, and compare its checksum with the published one"),
], ids=["page", "lfs"])
def test_a_disk_that_is_something_else(refused, tmp_path, content, message, fix):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(content)
    refused(message.format(path=disk), fix, "up", "bad", "--disk", "disk.raw")


@pytest.mark.parametrize("format,what", [("qcow2", "a qcow2 disk image"), ("vpc", "a VHD disk image"), ("vmdk", "a VMDK disk image")])
def test_a_disk_of_another_format_named_raw(home, refused, good_disk, tmp_path, format, what):
    disk = tmp_path / "disk.raw"
    tool("qemu-img", "convert", "-f", "raw", "-O", format, good_disk, disk)
    refused(f"cannot boot the disk {disk}: it has {disk.stat().st_size} bytes and is {what}, not a raw disk with a GPT",
            f"pinhole image import {disk}   (converts it, checks it, and makes an image of it)", "up", "bad", "--disk", "disk.raw")
    back = tmp_path / "back.raw"
    tool("qemu-img", "convert", "-f", format, "-O", "raw", disk, back)
    ok, done = accepted(home, back, tmp_path)
    assert ok, done.stderr


def test_a_disk_that_was_cut_or_grew_or_never_arrived(home, refused, good_disk, tmp_path):
    disk = tmp_path / "disk.raw"
    again = "fetch or build the disk image again, and compare its checksum with the published one"
    shutil.copy(good_disk, disk)
    os.truncate(disk, 12 << 20)
    refused(f"cannot use the disk {disk}: it is truncated: it has {12 << 20} bytes, and its partition table reaches to {16 << 20}",
            again, "up", "bad", "--disk", "disk.raw")
    shutil.copy(good_disk, disk)
    os.truncate(disk, 32 << 20)
    ok, done = accepted(home, disk, tmp_path)
    assert ok, done.stderr
    with open(disk, "r+b") as file:  # a copy that left out what it could not read
        os.truncate(disk, 9 << 20)
        os.truncate(disk, 16 << 20)
        file.seek((16 << 20) - 33 * 512)
        file.write(good_disk.read_bytes()[-33 * 512:])
    refused(f"cannot boot the disk {disk}: it was only partly written: partition 2 (root) holds nothing but zeros",
            again, "up", "bad", "--disk", "disk.raw")


def test_a_partition_table_that_its_own_advice_mends(home, refused, good_disk, tmp_path):
    disk = tmp_path / "disk.raw"
    shutil.copy(good_disk, disk)
    with open(disk, "r+b") as file:
        file.seek(512 + 40)
        file.write(b"\xff")
    fix = f"sgdisk -e {disk}"
    refused(f"cannot boot the disk {disk}: its partition table (sector 1) is damaged: its checksum does not hold",
            fix + "   (writes both from the one that holds)", "up", "bad", "--disk", "disk.raw")
    tool(*fix.split())
    ok, done = accepted(home, disk, tmp_path)
    assert ok, done.stderr


def test_a_disk_that_firmware_finds_nothing_on(refused, good_disk, tmp_path):
    disk = tmp_path / "disk.raw"
    shutil.copy(good_disk, disk)
    tool("mdel", "-i", f"{disk}@@1M", "::/EFI/BOOT/BOOTX64.EFI")
    refused(f"cannot boot the disk {disk}: its EFI system partition has no \\EFI\\BOOT\\BOOTX64.EFI",
            "where the disk was installed: grub-install --removable, or bootctl install", "up", "bad", "--disk", "disk.raw")
    (tmp_path / "arm").write_bytes(efi_program(0xAA64))
    tool("mcopy", "-i", f"{disk}@@1M", tmp_path / "arm", "::/EFI/BOOT/BOOTAA64.EFI")
    refused(f"cannot boot the disk {disk}: its boot files are for aarch64, and the machine is x86_64", "take the image for x86_64",
            "up", "bad", "--disk", "disk.raw")


def mutations(good, rng):
    """(name, bytes, whether it must be refused): bits, ends and sectors of a disk, by a seed that never changes."""
    checked = [*range(510, 512), *range(512, 512 + 92), *range(1024, 1024 + 256), *range(len(good) - 512, len(good) - 420)]
    for number in range(40):
        bytes_ = bytearray(good)
        if number % 4 == 0:
            at = rng.choice(checked)
            bytes_[at] ^= 1 << rng.randrange(8)
            yield f"bit of {at}", bytes_, True
        elif number % 4 == 1:
            size = rng.randrange(len(good))
            yield f"cut to {size}", bytes_[:size], True
        elif number % 4 == 2:
            for _ in range(64):
                bytes_[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
            yield "bits anywhere", bytes_, False
        else:
            a, b = (rng.randrange(4096) * 512 for _ in range(2))
            bytes_[a:a + 512], bytes_[b:b + 512] = bytes_[b:b + 512], bytes_[a:a + 512]
            yield f"sectors at {a} and {b}", bytes_, False


def test_disks_that_something_happened_to(home, good_disk, tmp_path):
    """Forty of them through the command itself; src/artifact/mutated_test.cc has 500 of every kind."""
    before = snapshot(home.root / "state")
    disk = tmp_path / "disk.raw"
    for name, content, must in mutations(good_disk.read_bytes(), random.Random(6)):
        disk.write_bytes(content)
        ok, done = accepted(home, disk, tmp_path)
        assert done.returncode == 1 and "Sanitizer" not in done.stderr, (name, done)
        assert ok or ("fix:" in done.stderr and done.stderr.startswith("pinhole: cannot ")), (name, done.stderr)
        assert not (must and ok), name
    assert snapshot(home.root / "state") == before


# Row 3: the variable store.

@contextlib.contextmanager
def running(home, name, *args):
    """`pinhole up` as far as the machine running; its disk has nothing that would ever answer."""
    process = subprocess.Popen([BIN / "pinhole", "up", name, *map(str, args)], env=home.env, cwd="/", stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = []
    try:
        def runs():
            assert process.poll() is None, process.communicate()[0]
            done = home.run("status", name, "--json")
            return done.returncode == 0 and '"stage":"firmware"' in done.stdout
        assert wait_until(runs, 60)
        yield output
    finally:
        home.run("down", "--force", name)
        output.append(process.communicate(timeout=60)[0])


@pytest.fixture(scope="module")
def machine(home, good_disk):
    disk = home.root / "vars.raw"
    shutil.copy(good_disk, disk)
    with running(home, "vars", "--disk", disk, "--accel", "tcg", "--no-config", "--no-workspace"):
        pass
    yield "vars", home.vm_dir("vars") / "efi-vars.fd", ("--disk", disk, "--accel", "tcg", "--no-config", "--no-workspace")
    home.run("rm", "--force", "vars")


def in_header(at, value):
    def change(good):
        return good[:at] + bytes([value]) + good[at + 1:]
    return change


@pytest.mark.parametrize("change,what", [
    (lambda good: b"", "it is empty"),
    (lambda good: good[:131072], "it has 131072 bytes, and this firmware's store {size}: it was cut short, or belongs to another firmware"),
    (lambda good: bytes(len(good)), "it holds nothing but zeros"),
    (lambda good: PAGE.ljust(len(good)), f"it holds no firmware volume, but is {HTML}"),
    (in_header(40, 0x78), "it holds no firmware volume, but is unknown data"),
    (in_header(33, 0x78), "at byte 0 the checksum of a firmware volume's header does not hold"),
    (in_header(0x48 + 18, 0x02), "it is laid out otherwise than this firmware's store: it belongs to another firmware"),
], ids=["empty", "cut", "zeros", "page", "signature", "checksum", "layout"])
def test_a_variable_store_that_cannot_be_used(home, refused, machine, change, what):
    name, store, args = machine
    good = store.read_bytes()
    try:
        store.write_bytes(change(good))
        refused(f"the EFI variable store {store} cannot be used: {what.format(size=len(good))}", f"pinhole up {name} --reset-efi-vars",
                "up", name, *args)
    finally:
        store.write_bytes(good)


def test_a_broken_variable_store_is_made_anew_when_asked_and_a_missing_one_always(home, machine):
    name, store, args = machine
    note = "its EFI variable store was missing, and is made anew from the firmware's template"
    for breaks, more, noted in ((lambda: store.write_bytes(b""), ["--reset-efi-vars"], False), (store.unlink, [], True)):
        breaks()
        with running(home, name, *args, *more) as output:
            assert store.stat().st_size == TEMPLATE.stat().st_size
            assert store.read_bytes()[:0x64] == TEMPLATE.read_bytes()[:0x64]
        assert (note in "".join(output)) == noted, output
