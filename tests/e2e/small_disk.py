# SPDX-License-Identifier: Apache-2.0
"""A disk that preflight takes for a bootable one, and that is made in a moment: what firmware starts on it does nothing."""
import os
import struct
import subprocess

TOOLS = {**os.environ, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


def tool(*args):
    subprocess.run([str(arg) for arg in args], env=TOOLS, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def efi_program(machine=0x8664):
    """The headers of one and a section: what firmware loads and nobody runs."""
    out = bytearray(1024)
    out[0:2] = b"MZ"
    struct.pack_into("<I", out, 0x3C, 0x80)
    struct.pack_into("<4sHHIIIHH", out, 0x80, b"PE\0\0", machine, 1, 0, 0, 0, 160, 0x22)
    struct.pack_into("<H", out, 0x98, 0x20B)
    struct.pack_into("<I", out, 0x98 + 16, 0x1000)
    struct.pack_into("<I", out, 0x98 + 60, 1024)
    struct.pack_into("<H", out, 0x98 + 68, 10)
    struct.pack_into("<I", out, 0x98 + 108, 6)
    struct.pack_into("<8sIIII", out, 0x98 + 160, b".text", 512, 0x1000, 512, 1024)
    return bytes(out) + b"\xcc" * 512


def make(folder):
    """A GPT disk of 16 MiB by the tools that people use: an EFI system partition with a boot file, and a root."""
    disk, program = folder / "good.raw", folder / "program"
    with open(disk, "wb") as file:
        file.truncate(16 << 20)
    tool("sgdisk", "-n1:2048:+8M", "-t1:ef00", "-c1:esp", "-n2:0:0", "-t2:8304", "-c2:root", disk)
    tool("mkfs.vfat", "-F", "12", "--offset", 2048, disk, 8192)
    program.write_bytes(efi_program())
    tool("mmd", "-i", f"{disk}@@1M", "::/EFI", "::/EFI/BOOT")
    tool("mcopy", "-i", f"{disk}@@1M", program, "::/EFI/BOOT/BOOTX64.EFI")
    with open(disk, "r+b") as file:
        file.seek(9 << 20)
        file.write(b"root" * 4096)
    return disk
